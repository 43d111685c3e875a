#!/bin/sh
# The report's page in a headless Chromium: browser_test.sh SOURCE_FOLDER WRITE_SAMPLE
#
# At four widths, on both grounds, with every <details> open and without JavaScript: nothing sticks out, everything can be
# read, and nothing runs, loads or complains. Exit status 77 (skipped) where there is no Chromium.
# BROWSER_SCREENSHOTS=FOLDER keeps pictures of what was seen.
set -u
root=$1
write_sample=$2
. "$root/tests/tooling/check.sh"

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -z "$browser" ]; then
  echo 'skipped: there is no chromium here (Debian: apt-get install chromium)'
  exit 77
fi

# chrome SCHEME OPTIONS... ADDRESS
chrome() {
  preferred=$([ "$1" = dark ] && echo 0 || echo 1)
  shift
  timeout -k 5 90 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --disable-extensions --disable-background-networking --user-data-dir="$work/profile" --hide-scrollbars \
    --allow-file-access-from-files --virtual-time-budget=10000 --blink-settings=preferredColorScheme="$preferred" \
    --enable-logging=stderr --log-level=0 "$@"
}

# look SCHEME PAGE: what browser_check.html finds, into $work/findings; what the page says on the console, into
# $work/console.
look() {
  sed "s|'PAGE'|'file://$2'|" "$root/tests/report/browser_check.html" > "$work/check.html"
  chrome "$1" --window-size=1400,1000 --dump-dom "file://$work/check.html" > "$work/dom" 2> "$work/log"
  sed -n '/<pre id="findings">/,/^findings/p' "$work/dom" > "$work/findings"
  chrome "$1" --window-size=1400,1000 --screenshot="$work/shot.png" "file://$2" > /dev/null 2> "$work/log-page"
  grep -a 'CONSOLE' "$work/log-page" > "$work/console"
}
found() { grep -q -e "$1" "$work/findings" || failed "it did not find \"$1\" in
$(cat "$work/findings")"; }

title 'the check finds what it is for'
cp "$root/tests/report/browser_canary.html" "$work/canary.html"
look light "$work/canary.html"
for wrong in 'overflow at 320' 'overflow at 1280' 'contrast' 'alt: a picture' 'alt: an image' 'active: &lt;script' \
             'network: https' 'the id twice' 'leads nowhere' 'has no language' 'one h1' 'level 2 after'; do
  found "$wrong"
done
expect grep -q 'an error of the canary' "$work/console"

title 'the page'
expect "$write_sample" "$work/page.html"
for scheme in light dark; do
  look $scheme "$work/page.html"
  found "scheme $scheme"
  grep -q '^findings 0$' "$work/findings" || failed "$scheme: $(cat "$work/findings")"
  [ ! -s "$work/console" ] || failed "$scheme, on the console: $(cat "$work/console")"
  [ -s "$work/shot.png" ] || failed "$scheme: no picture: $(tail -3 "$work/log-page")"
done

if [ -n "${BROWSER_SCREENSHOTS:-}" ]; then
  for scheme in light dark; do
    chrome $scheme --window-size=1280,3000 --screenshot="$BROWSER_SCREENSHOTS/desktop-$scheme.png" \
      "file://$work/page.html" > /dev/null 2>&1
    chrome $scheme --window-size=500,3000 --screenshot="$BROWSER_SCREENSHOTS/phone-$scheme.png" \
      "file://$work/page.html" > /dev/null 2>&1
  done
fi
finish
