# shellcheck shell=sh
# Sets up .venv at the root of the checkout; sourced by the scripts beside it.
#
# Requires only a python3 of 3.11 or newer with pip, which installs uv in .uv; uv then fills .venv.
# Both folders can be removed at any time. All packages are pinned by hash in requirements/.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
uv=$root/.uv/bin/uv
venv=$root/.venv

say() { printf '%s\n' "$*" >&2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    found=
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        new_enough "$python" || continue
        found=$python
        if [ -x "$uv" ] || "$python" -m pip --version >/dev/null 2>&1; then return 0; fi
    done
    if [ -n "$found" ]; then
        say "$found has no pip. Install it (on Debian: apt-get install python3-pip), then run this again."
    else
        say "Python 3.11 or newer is needed, and none was found as python3 or python3.11 to python3.14."
        say "The python3 on this machine: $(python3 --version 2>&1 || true)"
    fi
    return 1
}

# Checksum of everything that determines the content of .venv. It includes the folder, because an
# editable install contains its path.
fingerprint() {
    { echo "$root" && "$venv/bin/python" --version && cat pyproject.toml requirements/build.txt \
        "requirements/$1.txt"; } 2>&1 | cksum
}

is_set_up() {
    [ -f "$venv/.set-up-$1" ] && [ "$(cat "$venv/.set-up-$1")" = "$(fingerprint "$1")" ]
}

get_uv() {
    find_python
    say "Setting up $root with $("$python" --version); this takes a minute the first time."
    "$uv" --version >/dev/null 2>&1 ||
        "$python" -m pip install --quiet --root-user-action=ignore --upgrade --target .uv \
            --require-hashes -r requirements/uv.txt >&2
}

install() {
    get_uv
    if ! new_enough "$venv/bin/python"; then
        "$uv" venv --quiet --clear --relocatable --no-python-downloads \
            --python "$("$python" -c 'import sys; print(sys.executable)')" "$venv"
    fi
    # uv leaves compiling to the first import, which PYTHONDONTWRITEBYTECODE repeats in each process.
    "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode \
        -r requirements/build.txt -r "requirements/$1.txt"
    "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
    fingerprint "$1" >"$venv/.set-up-$1"
}

# set_up runtime | dev: returns at once if .venv is up to date. The dev dependencies include the
# runtime dependencies, so a dev environment also serves for runtime.
set_up() {
    (
        cd "$root" || exit
        if is_set_up dev || is_set_up "$1"; then exit 0; fi
        install "$1"
    )
}
