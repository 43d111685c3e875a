#!/bin/sh
# lab train: a mesh trains as one process does, and what does not fit is said in one line with exit status 2.
#   sh train_test.sh SOURCE_DIR PROGRAM
program=$2
. "$1/tests/tooling/check.sh"
. "$1/tests/train/says.sh"
cd "$work" || exit 1

title 'a mesh and one process have one curve'
says 0 'largest difference' --data synthetic --mesh data=2,tensor=2 --model mlp-ln --steps 3 --batch 21 --compare
expect test -s train.svg
says 0 'largest difference' --data synthetic --mesh tensor=3 --model cnn-bn --steps 2 --batch 8 --optimizer adam --compare --chart c.svg
expect grep -q '<svg' c.svg

title 'a mesh that does not fit'
says 2 'there is no axis' --mesh rows=2
says 2 'has no form on tiles' --mesh data=2,spatial=2x1
RANK=0 WORLD_SIZE=6 says 2 'would fit' --mesh data=2,tensor=2

title 'what is not there'
says 2 'cnn-bn' --model resnet
says 2 'lab data' --data cifar10 --dir nowhere --steps 1
says 2 'no folder' --chart no/such/folder/c.svg

[ "$failures" -eq 0 ]
