#!/bin/sh
# Compiles thin.thin to build/thin.o and build/thin.h, links main.c with them, and runs it.
#
#   TARGET   the machine, as `deepthin compile --target` takes it (default: this one)
#   CC       the C compiler for it (default: cc)
#   LDFLAGS  more words for linking
#   RUN      what runs the program (default: nothing, it runs by itself)
#   DEEPTHIN the deepthin program (default: built from this project)
#   OUT      the directory to write to (default: build)
set -eu
cd "$(dirname "$0")"
out=${OUT:-build}
# Unquoted where a variable may be several words, or none. Deepthin runs here whatever the target:
# Cargo, which asks CC as well, must not build it with a compiler for another machine.
env -u CC -u LDFLAGS ${DEEPTHIN:-cargo run --quiet --release --} compile thin.thin ${TARGET:+--target "$TARGET"} -o "$out"
# Kernels that nobody calls are left out by --gc-sections.
${CC:-cc} -std=c99 -O2 -Wall -Wextra -Werror -pedantic -I "$out" main.c "$out/thin.o" \
    -Wl,--gc-sections ${LDFLAGS:-} -lm -o "$out/embed"
${RUN:-} "$out/embed"
