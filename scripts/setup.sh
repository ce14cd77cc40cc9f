#!/usr/bin/env bash
# Checks for the tools that building, the demo and the tests need, and installs those that are missing.
#
#   scripts/setup.sh          what `make demo` and `make test` need
#   scripts/setup.sh demo     the same without the Python packages of the tests
#   scripts/setup.sh bench    the first, and what `make bench` measures with: wrk, valgrind and gungraun's runner
#
# Packages come from apt-get, when this runs as root or sudo asks for no password. Otherwise one line names what is
# missing, and the exit status is 1. When nothing is missing, nothing is run but the checks.
#
# No service is started here, and none is needed: tests and benchmarks run servers as their own child processes. In a container
# nothing else starts one either. On a machine with a running systemd, Debian's packages start their own when they are
# installed; `systemctl disable --now nginx varnish trafficserver` ends them for good.
set -eu

cd "$(dirname "$0")/.."

fail() {
    echo "setup: $*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

have_any() {
    for name in "$@"; do
        if have "$name"; then return 0; fi
    done
    return 1
}

# How this user runs apt-get: directly, through sudo, or not at all (status 1).
apt() {
    if ! have apt-get; then
        return 1
    elif [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"
    else
        return 1
    fi
}

# Installs the packages named; status 1 when that is not possible here.
install() {
    apt --version >/dev/null 2>&1 || return 1
    echo "setup: installing $*"
    apt update >&2 && apt install --no-install-recommends "$@" >&2
}

# What building and testing need: cmake and a C compiler for the engine's compression libraries, ffmpeg and Chromium
# as real readers of the streams, Node.js for the pinned hls.js, redis-server for the tests of several nodes, Node.js and
# Python for the signers of tokens that the tests take theirs from and for Helm's library, openssl for a line of the documents. CHROMIUM
# names another browser of that kind.
packages() {
    local missing=()
    have cmake || missing+=(cmake)
    if ! have cc || ! have c++ || ! printf '#include <stdlib.h>\n' | cc -E - >/dev/null 2>&1; then
        missing+=(build-essential)
    fi
    have ffmpeg || missing+=(ffmpeg)
    [ -x "${CHROMIUM:-/usr/bin/chromium}" ] || missing+=(chromium)
    have_any node nodejs || missing+=(nodejs)
    have npm || missing+=(npm)
    have redis-server || missing+=(redis-server)
    if [ "$purpose" != demo ]; then
        have python3 || missing+=(python3)
        have openssl || missing+=(openssl)
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
        have nginx || [ -x /usr/sbin/nginx ] || missing+=(nginx)
        have varnishd || [ -x /usr/sbin/varnishd ] || missing+=(varnish)
        have traffic_server || [ -x /usr/bin/traffic_server ] || missing+=(trafficserver)
    fi
    if [ "${#missing[@]}" = 0 ]; then return 0; fi
    install "${missing[@]}" || fail "missing packages that cannot be installed from here: ${missing[*]}"
}

# The peers of the benchmarks. Without them the benchmarks still run and name the peer that they leave out.
bench_packages() {
    local missing=()
    have wrk || missing+=(wrk)
    have valgrind || missing+=(valgrind)
    if [ "${#missing[@]}" = 0 ]; then return 0; fi
    install "${missing[@]}" || echo "setup: the benchmarks leave out, as it cannot be installed from here: ${missing[*]}" >&2
}

# What counts instructions for the micro-benchmarks, of the version of the library that Cargo.lock names: into target/tools.
# Without it, or without valgrind, the counts are left out.
counter() {
    have valgrind || return 0
    local version
    version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
    case "$(PATH="$PWD/target/tools/bin:$PATH" gungraun-runner --version 2>/dev/null)" in
        "gungraun-runner $version") return 0 ;;
    esac
    echo "setup: installing gungraun-runner $version into target/tools"
    cargo install --quiet --locked --version "$version" --root target/tools gungraun-runner >&2 \
        || echo "setup: the benchmarks leave out counts of instructions, as gungraun-runner cannot be installed" >&2
}

rust() {
    if ! have cargo && [ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
        fail "cargo is installed but not in PATH; run: . ${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    have cargo && have rustc || fail "Rust is missing; install it from https://rustup.rs"
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(rustc --version | awk '{ print $2 }')
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "rustc is $found, but forebay needs $wanted or newer; run: rustup update stable"
    fi
    component rustfmt cargo-fmt
    component clippy cargo-clippy
}

# component NAME COMMAND: makes sure that COMMAND of the toolchain component NAME runs.
component() {
    if "$2" --version >/dev/null 2>&1; then return 0; fi
    have rustup || fail "the Rust component $1 is missing; install it the way Rust was installed"
    rustup component add "$1" || fail "the Rust component $1 is missing; run: rustup component add $1"
}

# The npm packages of package-lock.json, fetched anew only when the lock file is newer than what is there.
npm_packages() {
    if [ ! -f package.json ]; then return 0; fi
    local stamp=node_modules/.package-lock.json
    if [ -f "$stamp" ] && [ ! package-lock.json -nt "$stamp" ]; then return 0; fi
    npm ci --no-audit --no-fund >&2 || fail "npm ci failed; the npm packages have to be fetched once, with a network"
    touch "$stamp"
}

# python_packages NAME LIST [OPTION...]: the Python packages of a list, in target/NAME, made anew when the list differs from
# what is there.
python_packages() {
    local folder=target/$1 list=$2
    shift 2
    if cmp -s "$list" "$folder/requirements.txt" && "$folder/bin/python" -c '' 2>/dev/null; then return 0; fi
    rm -rf "$folder"
    python3 -m venv "$folder" || fail "python3 -m venv failed; the package python3-venv brings what it needs"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary --require-hashes "$@" \
        -r "$list" >&2 || fail "pip install failed; the Python packages have to be fetched once, with a network"
    cp "$list" "$folder/requirements.txt"
}

# Of the signers of tokens, and of what renders and judges the chart. Helm's library asks for Python 3.12 and needs 3.11.
all_python_packages() {
    python_packages signers tests/signers/requirements.txt
    python_packages chart tests/helm/requirements.txt --ignore-requires-python
}

purpose=${1:-test}
rust
packages
npm_packages
if [ "$purpose" != demo ]; then all_python_packages; fi
if [ "$purpose" = bench ]; then
    bench_packages
    counter
fi
