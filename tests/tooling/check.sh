# shellcheck shell=sh
# For the tests of scripts: sourced by them. Gives $work, an empty folder that is removed at the end.
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0
current=

title() { current=$1; printf '== %s\n' "$1"; }

failed() {
  failures=$((failures + 1))
  printf 'FAILED (%s): %s\n' "$current" "$1"
  [ ! -f built ] || sed 's/^/    | /' built
}

# expect COMMAND...: it succeeds. expect_not COMMAND...: it fails.
expect() { "$@" || failed "$*"; }
expect_not() { if "$@"; then failed "not: $*"; fi; }

# expect_status STATUS COMMAND...
expect_status() {
  wanted=$1
  shift
  "$@"
  got=$?
  [ "$got" -eq "$wanted" ] || failed "$*: exit status $got, expected $wanted"
}

# expect_out TEXT COMMAND...: it prints exactly that.
expect_out() {
  wanted=$1
  shift
  got=$("$@" 2>&1)
  [ "$got" = "$wanted" ] || failed "$*
    expected: $wanted
    got:      $got"
}

expect_file() { [ "$(cat "$1")" = "$2" ] || failed "$1 holds
$(cat "$1")
    expected
$2"; }

expect_line() { [ "$(sed -n "$1p" "$3" 2>&1)" = "$2" ] || failed "line $1 of $3 is
    $(sed -n "$1p" "$3" 2>&1)
    expected
    $2"; }

finish() {
  [ "$failures" -eq 0 ] || { printf '%s checks failed\n' "$failures"; exit 1; }
  echo 'all passed'
}
