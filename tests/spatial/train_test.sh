#!/bin/sh
# lab train along the axis spatial: it trains as one process does, alone and with stages behind the tiles.
#   sh train_test.sh SOURCE_DIR PROGRAM
program=$2
. "$1/tests/tooling/check.sh"
. "$1/tests/train/says.sh"
cd "$work" || exit 1

title 'tiles and one process have one curve'
small='--data synthetic --steps 2 --batch 6 --compare'
says 0 "$exact" $small --mesh spatial=1x2 --model unet-1-4
says 0 "$exact" $small --mesh data=2,spatial=2x1 --model unet-1-4 --optimizer adam

says 0 "$exact" $small --mesh spatial=2x2 --model amoebanet-3-8 --fused-halo 2

title 'tiles joined to stages have the curve of one process'
says 0 "$exact" $small --mesh spatial=2x2,pipe=2 --model amoebanet-3-8 --micro-batches 2 --spatial-stages 1
says 0 "$exact" $small --mesh data=2,spatial=1x2,pipe=2 --model unet-1-4 --micro-batches 2 --clip 0.05
says 0 "$exact" $small --mesh spatial=1x2,pipe=3 --spatial-stages 2 --model unet-1-4 --micro-batches 2 \
  --schedule gpipe --recompute always
says 0 "$exact" $small --mesh spatial=1x2,pipe=2 --spatial-stages 2 --model unet-1-4 --micro-batches 2
says 0 'as delayed' $small --mesh spatial=1x2,pipe=2 --model unet-1-4 --micro-batches 2 --schedule 2bw

title 'a checkpoint goes on on another mesh'
says 0 'checkpoint: saved' --data synthetic --steps 2 --batch 6 --mesh spatial=1x2,pipe=2 --model unet-1-4 \
  --micro-batches 2 --save saved --dtype float64
says 0 "$exact" --resume saved --steps 1 --mesh spatial=2x1 --compare
says 0 "$exact" --resume saved --steps 1 --mesh pipe=2 --micro-batches 2 --compare

title 'what does not fit'
refuses "'0x2' is no size for spatial" --mesh spatial=0x2
refuses 'layer fc1: aten::flatten.using_ints has no form on tiles' --mesh spatial=1x2 --model mlp
refuses 'layer embed: aten::flatten.using_ints has no form on tiles' --mesh spatial=1x2,pipe=2 --model transformer
refuses 'at most 32x32 tiles would do' --mesh spatial=40x1 --model resnet18
refuses 'none of them: use fewer tiles' --mesh spatial=8x1 --model resnet18
refuses 'of 2 stages 1 to 2 can have tiles' --mesh spatial=1x2,pipe=2 --spatial-stages 0 --model resnet18
refuses 'of 2 stages 1 to 2 can have tiles' --mesh spatial=1x2,pipe=2 --spatial-stages 3 --model resnet18
refuses '--mesh spatial=2x2' --mesh pipe=2 --fused-halo 2 --model resnet18
refuses '--mesh spatial=2x2,pipe=2' --mesh pipe=2 --spatial-stages 1 --model resnet18
refuses 'spatial or tensor must be 1' --mesh spatial=1x2,tensor=2 --model cnn
RANK=0 WORLD_SIZE=4 says 2 'needs 5 ranks, there are 4' --mesh spatial=2x2,pipe=2 --model resnet18
RANK=0 WORLD_SIZE=6 says 2 'would fit' --mesh spatial=2x2 --model resnet18

[ "$failures" -eq 0 ]
