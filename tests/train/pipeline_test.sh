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

title 'stages whose layers are split along tensor'
says 0 "$exact" --data synthetic --mesh pipe=2,tensor=2 --model cnn-bn \
  --micro-batches 3 --steps 3 --batch 10 --compare --recompute except_last
expect grep -q '[0-9]: conv' built
says 0 "$exact" --data synthetic --mesh data=2,pipe=2,tensor=2 --model mlp-ln \
  --micro-batches 2 --steps 3 --batch 9 --compare --optimizer adam --schedule zb-h1
says 0 'as delayed' --data synthetic --mesh pipe=3,tensor=2 --model cnn --schedule pipedream --steps 4 --batch 6 --compare

title 'gradients are clipped by the norm of the whole model, in which each weight counts once'
clipped='--data synthetic --steps 3 --batch 9 --clip 0.05 --compare'
says 0 "$exact" $clipped --mesh data=2 --model cnn
says 0 "$exact" $clipped --mesh data=2,tensor=3 --model mlp-ln
says 0 "$exact" $clipped --mesh pipe=2,tensor=2 --model mlp-ln --micro-batches 2
says 0 "$exact" $clipped --mesh data=2,pipe=2 --model mlp --micro-batches 2
refuses '--clip: 2bw updates without a flush' --mesh pipe=2 --schedule 2bw --clip 1

title 'an asynchronous one and its definition have one curve'
says 0 'as delayed' --data synthetic --mesh pipe=3 --model cnn --schedule pipedream --steps 5 --batch 6 --compare
says 0 'as delayed' --data synthetic --mesh pipe=2 --model mlp-ln --schedule wpipe --micro-batches 2 --steps 4 --batch 5 \
  --compare --balance memory

title 'schedules that are no exercise, and tables from files'
for schedule in looped-bfs interleaved-zb interleaved-any zb-v dualpipe-v; do
  says 0 "$exact" --data synthetic --mesh pipe=2 --model cnn-bn --schedule $schedule --micro-batches 5 --steps 2 --batch 13 \
    --compare
done
printf '0F0,2F0,2B0,0F1,(2F1;0B0)OVERLAP_F_B,2B1,0B1\n1F0,1B0,1F1,1B1\n' >bad.csv
printf '0F0,3F0,3I0,3W0,0F1,(3F1;0B0)OVERLAP_F_B,3B1,0B1\n1F0,2F0,1F1,2F1,2B0,1B0,2B1,1B1\n' >vee.csv
says 0 "$exact" --data synthetic --mesh data=2,pipe=2 --model cnn-bn --schedule vee.csv --steps 3 --batch 9 --compare \
  --recompute always
cat >updates.txt <<'EOF'
layout linear 2
micro-batches 3
rank 0: 0F0 0F1 0B0 0STEP@1 0F2@1 0B1 0STEP@2 0B2@1 0STEP@3
rank 1: 1F0 1B0 1STEP@1 1F1@1 1B1@1 1STEP@2 1F2@2 1B2@2 1STEP@3
EOF
says 0 'as delayed' --data synthetic --mesh pipe=2 --model mlp --schedule updates.txt --steps 3 --batch 6 --compare
cat >mirrored.txt <<'EOF'
layout bidirectional 2
micro-batches 2
rank 0: 0F0 0B0 3F1 3B1
rank 1: 1F0 1B0 2F1 2B1
EOF
says 0 "$exact" --data synthetic --mesh pipe=2 --model mlp --schedule mirrored.txt --steps 2 --batch 6 --compare
refuses 'neither linear, looped nor a vee' --mesh pipe=2 --schedule bad.csv
refuses 'its table is for 2 ranks: use --mesh pipe=2' --mesh pipe=3 --schedule vee.csv
refuses '--micro-batches: the table of vee.csv has 2 micro-batches an update' --mesh pipe=2 --model cnn --schedule vee.csv \
  --micro-batches 3
refuses '--steps 5: the table of updates.txt makes 3 updates without a flush: use --steps 3' --mesh pipe=2 \
  --schedule updates.txt --steps 5
sed 's/0B1 0STEP@2 0B2@1 0STEP@3/0B2@1 0STEP@2 0B1 0STEP@3/' updates.txt >order.txt
refuses '0B2@1 goes into 0STEP@2, and micro-batches 2 to 2 are those of update 3' --mesh pipe=2 --schedule order.txt --steps 3
printf '0F0,0B0\n1B0,1F0\n' >wrong.csv
refuses '--schedule wrong.csv: rank 1, step 0: 1B0 needs 1F0.*lab schedule --check wrong.csv shows where' --mesh pipe=2 \
  --schedule wrong.csv
printf '0F0\n1F0\n' >forward.csv
refuses 'there is no backward in it' --mesh pipe=2 --schedule forward.csv
refuses 'nowhere.csv: No such file' --mesh pipe=2 --schedule nowhere.csv

title 'what does not fit: meshes and models'
refuses 'mlp has 3 layers, which cannot be cut into 9 stages' --mesh pipe=9 --model mlp
refuses 'cannot be cut into 99 stages' --mesh pipe=99 --model resnet101
refuses "'0' is no size for pipe: 1, 2, 3" --mesh pipe=0
refuses "'-1' is no size for pipe" --mesh pipe=-1
refuses "'99999999999' is no size for pipe" --mesh pipe=99999999999
refuses "'pipe' has no size" --mesh pipe
refuses "'pipe' is given twice" --mesh pipe=2,pipe=2
refuses "there is no axis 'pipes'" --mesh pipes=2
refuses 'mlp-ln has 2 layers along tensor, which cannot be cut into 3 stages' --mesh pipe=3,tensor=2 --model mlp-ln
refuses 'name the axis' --schedule gpipe
refuses 'resnet18 is trained along data, pipe and spatial' --mesh tensor=2 --model resnet18
refuses 'resnet18 is trained along data, pipe and spatial' --mesh pipe=2,tensor=2 --model resnet18
refuses "did you mean 'resnet18'" --mesh pipe=2 --model resnet19
refuses 'a multiple of 3, not 4' --mesh pipe=2 --model amoebanet-4-16
refuses 'a side of 32 to 1024' --mesh pipe=2 --image 16

title 'what does not fit: balances'
refuses 'gives stage 1 0 layers.*use for example 2,1' --mesh pipe=2 --model mlp --balance 3,0
refuses 'gives stage 0 0 layers.*use for example 2,1' --mesh pipe=2 --model mlp --balance 0,3
refuses 'gives stage 0 -1 layers' --mesh pipe=2 --model mlp --balance -1,4
refuses 'adds up to 2 layers, and the model has 3' --mesh pipe=2 --model mlp --balance 1,1
refuses 'has 3 numbers for 2 stages' --mesh pipe=2 --model mlp --balance 1,1,1
refuses "unknown balance '2,x'" --mesh pipe=2 --model mlp --balance 2,x
refuses "did you mean 'time'" --mesh pipe=2 --balance tim

title 'what does not fit: schedules and micro-batches'
refuses "did you mean '1f1b'" --mesh pipe=2 --schedule 1f2b
refuses '--micro-batches 0: a batch is cut into at least 1' --mesh pipe=2 --micro-batches 0
refuses '--micro-batches -3: a batch is cut into at least 1' --mesh pipe=2 --micro-batches -3
refuses '--micro-batches 2.5: not a number' --mesh pipe=2 --micro-batches 2.5
interleaved='--mesh pipe=2 --model cnn-bn --schedule interleaved'
refuses 'interleaved: 3 micro-batches.*a multiple of the ranks, such as 4' $interleaved --micro-batches 3
refuses 'with 1 use 1f1b' $interleaved --chunks 1
refuses 'at least 1 chunk, not -2' $interleaved --chunks -2
refuses 'cannot be cut into 100 stages' $interleaved --chunks 50
refuses '--chunks: gpipe decides by itself' --mesh pipe=2 --schedule gpipe --chunks 2
refuses 'as many micro-batches as there are stages, 3, not 2' --mesh pipe=3 --model cnn --schedule 2bw --micro-batches 2
refuses 'a multiple of the ranks, such as 6' --mesh pipe=3 --model cnn --schedule wpipe --micro-batches 4
refuses '--batch 4: each of the 8 micro-batches needs an image: use --batch 8' --mesh pipe=2 --schedule 2bw --batch 4
refuses 'use --batch 16' --mesh data=2,pipe=2 --schedule 2bw --batch 12
refuses '3 replicas need an image each' --mesh data=3,pipe=2 --batch 2
refuses 'updates after each micro-batch' --mesh pipe=2 --schedule pipedream --micro-batches 4
refuses 'use --steps 1000000 and --save' --mesh pipe=2 --schedule pipedream --steps 3000000
refuses "unknown mode 'sometimes'" --mesh pipe=2 --recompute sometimes
says 0 '1 steps of 10' --data synthetic --mesh pipe=2 --micro-batches 100 --batch 10 --steps 1

title 'what does not fit: numbers and files'
refuses "--batch: '0' is no number above 0" --mesh pipe=2 --batch 0
refuses "--steps: '-1' is no number above 0" --mesh pipe=2 --steps -1
refuses "--lr: 'nan' is no number above 0" --mesh pipe=2 --lr nan
refuses "--seed: '-1' is no whole number" --mesh pipe=2 --seed -1
refuses '--steps: give it once' --mesh pipe=2 --steps 1 --steps 2
refuses 'sgdd not in' --mesh pipe=2 --optimizer sgdd
refuses 'there is no folder /nowhere' --mesh pipe=2 --trace /nowhere/t.json
refuses '--trace: . is a folder' --mesh pipe=2 --trace .
echo kept >notes
refuses 'notes is a file; name a folder' --mesh pipe=2 --save notes
expect grep -q kept notes
refuses 'there is no checkpoint' --mesh pipe=2 --resume notes

title 'a rank that is killed ends the run, and is named'
"$program" --data synthetic --mesh pipe=2 --model mlp --steps 1000000 >built 2>&1 &
run=$!
tries=0
until grep -q 'times and activations' built || [ $tries -eq 600 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
kill -9 "$(cut -d ' ' -f 2 "/proc/$run/task/$run/children")"
wait "$run"
[ $? -eq 1 ] || failed 'a rank that is killed: the exit status is not 1'
expect grep -q '^lab train: rank 1 was killed by SIGKILL' built

[ "$failures" -eq 0 ]
