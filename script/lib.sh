# Sourced by the scripts here: where things are, and how to say and install them.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# The checkout's own Node goes first, so that `npm run` and every child use it too.
[ -x .tools/node/bin/node ] && export PATH="$root/.tools/node/bin:$PATH"

say() { printf '%s\n' "· $*" >&2; }
die() {
  printf '%s\n' "error: $1" >&2
  shift
  [ $# -eq 0 ] || printf '→ %s\n' "$@" >&2
  exit 3
}

is_debian_like() { [ -r /etc/os-release ] && grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release; }

# Runs a command as root: directly, or through sudo where that needs no password or can ask for it.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

# apt_install PACKAGE...: installs what is missing of it.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  is_debian_like || die "this needs: ${missing[*]}" "install these with your package manager, then run this again"
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${missing[*]}" "see above; as root: apt-get update && apt-get install ${missing[*]}"
  fi
  rm -f "$log"
}

# The command that runs tests: files or options follow. A test that hangs fails after its limit, and what keeps its file from
# ending is ended after a longer one: an exit by force (--test-force-exit) would lose results that are still on their way.
run_tests=(timeout --foreground --kill-after=30 40m node --test --test-timeout=300000 --test-reporter=./test/reporter.ts)
