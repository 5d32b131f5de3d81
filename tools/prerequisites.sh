#!/bin/sh
# Says what this machine lacks, one line for each thing, before anything is built. Exit code 1 if something is missing.
# usage: tools/prerequisites.sh [dynamodb]
cd "$(dirname "$0")/.." || exit
python=${PYTHON:-python3}
lacks=0

missing() {
    printf 'MISSING  %s\n' "$*" >&2
    lacks=1
}

# Whether version $1 is $2 or newer.
is_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
oldest_python=$(sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)

if ! rust=$(rustc --version 2>/dev/null) || ! cargo --version >/dev/null 2>&1; then
    missing "Rust $oldest_rust or newer: there is no rustc or no cargo. Install it with rustup, or as your system's packages."
else
    rust=$(printf '%s' "$rust" | cut -d ' ' -f 2)
    is_at_least "$rust" "$oldest_rust" ||
        missing "Rust $oldest_rust or newer: this is $rust. \`rustup update stable\` brings a newer one."
fi

compiler=${CC:-cc}
command -v "$compiler" >/dev/null 2>&1 ||
    missing "a C compiler: there is no $compiler. On Debian and Ubuntu: apt install build-essential."

if ! version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null); then
    missing "Python $oldest_python or newer: there is no $python. Name another one: make PYTHON=python3.13 …"
elif ! is_at_least "$version" "$oldest_python"; then
    missing "Python $oldest_python or newer: $python is $version. Name another one: make PYTHON=python3.13 …"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    missing "Python's venv module: $python has none. On Debian and Ubuntu: apt install python3-venv."
fi

if [ "${1:-}" = dynamodb ]; then
    java=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if [ -z "$java" ]; then
        missing "Java 17 or newer, for DynamoDB Local: there is no java. On Debian and Ubuntu: apt install default-jdk-headless."
    elif [ "$java" -lt 17 ]; then
        missing "Java 17 or newer, for DynamoDB Local: this is Java $java."
    fi
    command -v mvn >/dev/null 2>&1 ||
        missing "Maven, which fetches DynamoDB Local: there is no mvn. On Debian and Ubuntu: apt install maven."
fi

[ $lacks = 0 ] || echo "Nothing was built or installed." >&2
exit $lacks
