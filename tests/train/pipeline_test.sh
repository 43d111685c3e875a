#!/bin/sh
# lab train along the axis pipe: it trains as one process does, and what does not fit is said in one line with exit
# status 2 before a process starts.
#   sh pipeline_test.sh SOURCE_DIR PROGRAM
program=$2
. "$1/tests/tooling/check.sh"
. "$1/tests/train/says.sh"
cd "$work" || exit 1

title 'a pipeline and one process have one curve'
says 0 'largest difference' --data synthetic --mesh pipe=2 --model cnn-bn --schedule interleaved --micro-batches 4 \
  --steps 2 --batch 13 --compare --recompute except_last --trace t.json
expect grep -q '"run: interleaved' t.json
expect grep -q '"plan: interleaved' t.json
says 0 'largest difference' --data synthetic --mesh pipe=3 --model unet-1-4 --micro-batches 3 --steps 2 --batch 7 \
  --compare --optimizer adam --image 40
says 0 'largest difference' --data synthetic --mesh data=2,pipe=2 --model mlp-ln --schedule zb-h1 --micro-batches 3 \
  --steps 2 --batch 11 --compare --balance 3,2

says 0 'largest difference' --data synthetic --mesh data=2,pipe=2 --model unet-1-4 --micro-batches 2 --steps 2 \
  --batch 7 --compare --recompute always
says 0 'largest difference' --data synthetic --mesh data=3,pipe=2 --model transformer-1-16 --schedule interleaved \
  --micro-batches 2 --steps 2 --batch 8 --compare
says 0 'as delayed' --data synthetic --mesh data=2,pipe=2 --model transformer-1-16 --schedule 2bw --micro-batches 2 \
  --steps 3 --batch 9 --compare

title 'an asynchronous one and its definition have one curve'
says 0 'as delayed' --data synthetic --mesh pipe=3 --model cnn --schedule pipedream --steps 5 --batch 6 --compare
says 0 'as delayed' --data synthetic --mesh pipe=2 --model mlp-ln --schedule wpipe --micro-batches 2 --steps 4 --batch 5 \
  --compare --balance memory

title 'what does not fit'
refuses 'cannot be cut into 9 stages' --mesh pipe=9 --model mlp
refuses 'gives stage 1 0 layers.*use for example 2,1' --mesh pipe=2 --model mlp --balance 3,0
refuses 'at least 1' --mesh pipe=2 --micro-batches 0
refuses 'a multiple of the ranks, such as 4' --mesh pipe=2 --model cnn-bn --schedule interleaved --micro-batches 3
refuses "did you mean '1f1b'" --mesh pipe=2 --schedule 1f2b
refuses 'a multiple of 3, not 4' --mesh pipe=2 --model amoebanet-4-16
refuses 'a side of 32 to 1024' --mesh pipe=2 --image 16
refuses 'name the axis' --schedule gpipe
refuses 'resnet18 is trained along data and pipe' --mesh tensor=2 --model resnet18

[ "$failures" -eq 0 ]
