# Sourced by the scripts beside it, which set root to the folder that holds bin. POSIX sh.
# It knows where things are and builds the binary when it is missing or older than the sources.

build_dir=$root/bin/.build
apogee=$build_dir/apogee
# Where running servers leave their pid files for mqshutdown.
APOGEE_RUN_DIR=${APOGEE_RUN_DIR:-$root/.run}
export APOGEE_RUN_DIR

say() { echo "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

need_go() {
  command -v go >/dev/null 2>&1 && return
  [ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin && export PATH && return
  die "go is not on the PATH; install Go 1.26 or later from https://go.dev/dl/"
}

# stale BINARY tells whether it is missing or older than what it is built from. Folders count too: a deleted file touches one.
stale() {
  [ -x "$1" ] || return 0
  [ -n "$(find "$root" \( -name .git -o -name .run -o -path "$root/bin" -o -name testdata -o -name apogee-data \) -prune -o \
    \( -name '*.go' ! -name '*_test.go' -o -name '*.tsv' -o -name '*.pgo' -o -name go.mod -o -name go.sum -o -type d ! -path "$root" \) \
    -newer "$1" -print | head -n 1)" ]
}

# build NAME PACKAGE: a static binary in bin/.build. Two scripts may build at once: each moves a whole file into place.
build() {
  stale "$build_dir/$1" || return 0
  if ! command -v go >/dev/null 2>&1 && [ ! -x /usr/local/go/bin/go ] && [ -x "$build_dir/$1" ]; then
    say "$1 is older than its sources, and there is no go to build it; using it as it is"
    return 0
  fi
  need_go
  say "building $1 ..."
  mkdir -p "$build_dir"
  commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  if ! (cd "$root" && CGO_ENABLED=0 go build -trimpath -tags urfave_cli_no_docs -ldflags "-s -w -X main.commit=$commit" -o "$build_dir/$1.$$" "$2"); then
    rm -f "$build_dir/$1.$$"
    die "the build failed"
  fi
  mv -f "$build_dir/$1.$$" "$build_dir/$1"
}

# server SUBCOMMAND ARGS...: becomes the server. Its log goes to a file, as users of the Java scripts expect.
server() {
  build apogee ./cmd/apogee
  ROCKETMQ_HOME=${ROCKETMQ_HOME:-$root}
  APOGEE_LOG_DIR=${APOGEE_LOG_DIR:-${HOME:-$root/.run}/logs/rocketmqlogs}
  export ROCKETMQ_HOME APOGEE_LOG_DIR
  exec "$apogee" "$@"
}
