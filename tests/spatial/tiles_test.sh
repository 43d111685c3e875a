#!/bin/sh
# lab tiles: what tiles read and send, printed and drawn; what does not fit is said in one line with exit status 2.
#   sh tiles_test.sh SOURCE_DIR PROGRAM
program=$2
. "$1/tests/tooling/check.sh"
. "$1/tests/train/says.sh"
cd "$work" || exit 1

title 'one layer'
says 0 '12 messages, 36 pixels of a channel forward' 8x8 --grid 2x2
says 0 '5 messages, ' 8x8 --grid 2x2 --conv 3,2,1
says 0 '0 messages, 0 pixels' 8x8 --grid 2x2 --conv 1
says 0 '4 messages, ' 9x9 --grid 1x3 --conv 1x3,1,0x1
says 0 '0 messages, ' 9x9 --grid 3x1 --conv 1x3,1,0x1

title 'layers one after the other, with an exchange each or one for all'
says 0 'one exchange for all:  12 messages in 1 round, 80 pixels; 36 outputs computed twice' 8x8 --conv 3,1,1 --conv 3,1,1
expect grep -q 'an exchange a layer:   24 messages in 2 rounds, 72 pixels' built
expect grep -q '2 above, 2 below, 2 left, 2 right' built

title 'a picture'
says 0 'picture: t.svg' 56x56 --grid 2x3 --conv 7,2,3 --svg t.svg
expect grep -q 'rank 0 gets' t.svg
refuses '64 tiles at most' 100x100 --grid 9x9 --svg t.svg

title 'what does not fit'
refuses "'8y8' is no image" 8y8
refuses "'99999999x8' is no image" 99999999x8
refuses 'image is required' --grid 2x2
refuses 'at most 8x8 tiles would do' 8x8 --grid 9x1
refuses "'2' is no grid" 8x8 --grid 2
refuses "'3,0,1' is no window" 8x8 --conv 3,0,1
refuses 'does not fit an image of 4' 4x4 --conv 9

[ "$failures" -eq 0 ]
