# Helpers of the scripts in this directory; to be sourced by bash. Knows nothing of any one script's task.

set -euo pipefail

# The repository, wherever it is and from wherever the script was called.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TOOLS="$ROOT/.tools"

# log TEXT…: one line on stderr, so that stdout stays free for results.
log() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# die TEXT…: says why and ends the script.
die() {
  log "error: $*"
  exit 1
}

# need COMMAND HINT: ends the script if a command is missing.
need() {
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"
}

# digest FILE…: one checksum over the files, for stamps (not for security).
digest() {
  cat "$@" | cksum
}

# stamped NAME DIGEST: whether NAME was done with exactly this digest.
stamped() {
  [ "$(cat "$TOOLS/stamps/$1" 2>/dev/null)" = "$2" ]
}

# stamp NAME DIGEST: NAME is done.
stamp() {
  mkdir -p "$TOOLS/stamps"
  printf '%s\n' "$2" >"$TOOLS/stamps/$1"
}
