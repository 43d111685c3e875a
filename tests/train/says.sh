# For the tests of `lab train`: says STATUS TEXT ARGUMENTS... ends with that status, and the message has TEXT in it.
says() {
  wanted=$1 text=$2
  shift 2
  "$program" "$@" >built 2>&1
  got=$?
  [ "$got" -eq "$wanted" ] || failed "train $*: exit status $got, expected $wanted"
  grep -q -- "$text" built || failed "train $*: no '$text'"
}

# What --compare says when two runs differ by no more than the order of sums.
exact='largest difference of a step.s loss: [0-9.]*e\(-1[4-9]\|+00\) '

# refuses TEXT ARGUMENTS...: in one line with TEXT in it, and exit status 2.
refuses() {
  says 2 "$@"
  [ "$(wc -l <built)" -eq 1 ] || failed "train: more than one line for: $*"
}
