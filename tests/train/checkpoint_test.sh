#!/bin/sh
# lab train --save and --resume: a run that stops and goes on is bit for bit the run that did not stop.
#   sh checkpoint_test.sh SOURCE_DIR PROGRAM
program=$2
. "$1/tests/tooling/check.sh"
. "$1/tests/train/says.sh"
cd "$work" || exit 1

title 'two steps and two steps are four, with the state of Adam and of BatchNorm'
run='--data synthetic --model cnn-bn --batch 9 --optimizer adam --dtype float64 --augment --lr 0.003'
says 0 'checkpoint: straight' $run --steps 4 --save straight
says 0 'checkpoint: halves' $run --steps 2 --save halves
says 0 'goes on from step 2' --steps 2 --resume halves --save halves
expect cmp straight/step4.part0of1.pt halves/step4.part0of1.pt
expect cmp straight/run.json halves/run.json
expect test ! -e halves/step2.part0of1.pt

title 'a pipeline with dropout and momentum, gone on with in other stages'
run='--data synthetic --mesh pipe=2 --model transformer-1-16 --batch 6 --micro-batches 2 --dtype float64 --balance even'
says 0 'checkpoint: pipe' $run --steps 4 --save pipe
says 0 'checkpoint: part' $run --steps 2 --save part
says 0 'checkpoint: same' $run --steps 2 --resume part --save same
expect cmp pipe/step4.part0of2.pt same/step4.part0of2.pt
expect cmp pipe/step4.part1of2.pt same/step4.part1of2.pt
says 0 'largest difference' --mesh pipe=3 --micro-batches 2 --steps 1 --resume part --compare

title 'what one mesh wrote another reads'
run='--data synthetic --model mlp-ln --batch 12 --dtype float64'
says 0 'checkpoint: shards' $run --mesh data=2,tensor=3 --steps 2 --save shards
says 0 "$exact" --mesh pipe=4 --micro-batches 3 --steps 2 --resume shards --save stages --compare
says 0 "$exact" --mesh pipe=2,tensor=2 --micro-batches 2 --steps 2 --resume stages --save both --compare
says 0 "$exact" --steps 1 --resume both --compare
says 0 'checkpoint: bn' --data synthetic --model cnn-bn --batch 9 --optimizer adam --dtype float64 --mesh pipe=3 \
  --micro-batches 3 --steps 2 --save bn
says 0 "$exact" --mesh data=3,tensor=2 --steps 2 --resume bn --save bn --compare
says 0 "$exact" --mesh pipe=2,tensor=4 --micro-batches 3 --steps 1 --resume bn --compare

title 'a checkpoint that does not fit'
refuses 'there is no checkpoint' --resume nowhere
refuses 'trained with --model cnn-bn' --resume straight --model mlp
refuses 'trained with --batch 9' --resume straight --batch 10
printf 'PK' >straight/step4.part0of1.pt
says 2 'is damaged' --resume straight --steps 1
printf '{}' >straight/run.json
refuses 'run.json is damaged' --resume straight

[ "$failures" -eq 0 ]
