#!/usr/bin/env bash
# A CPython of the form of a standalone build, from the source that Debian has: for trying images with one
# where none can be downloaded. Needs an engine, mmdebstrap and some ten minutes.
#
#   benches/standalone.sh FOLDER [SUITE]      such as /tmp/cpython bookworm, whose CPython is 3.11
#
# As in those builds all is below `python/`, the prefix is `/install`, and what CPython is linked to
# beyond the C library lies beside it. It is not optimised, and made for nobody else's machine.
set -euo pipefail
folder=$(realpath -m "$1") suite=${2:-bookworm}
mkdir -p "$folder"
scratch=$(mktemp -d)
image=baibox-standalone-$$
trap 'docker image rm --force "$image" > /dev/null 2>&1 || true; rm -rf "$scratch"' EXIT
packages=gcc,make,patchelf,xz-utils,pkg-config,libc6-dev,libbz2-dev,libffi-dev,libgdbm-dev,liblzma-dev,libncurses-dev,libreadline-dev
mmdebstrap --quiet --variant=minbase --include="$packages,libsqlite3-dev,libssl-dev,uuid-dev,zlib1g-dev,python3-minimal" \
    --customize-hook='sed -i "/security/d; s/^deb \(.*\)/&\ndeb-src \1/" "$1/etc/apt/sources.list"; chroot "$1" apt-get update --quiet=2' \
    --customize-hook='chroot "$1" sh -c "cd /root && apt-get source --quiet=2 --download-only \$(basename \$(readlink -f /usr/bin/python3))"' \
    --skip=cleanup/apt/lists "$suite" "$scratch/base.tar"
docker import "$scratch/base.tar" "$image" > /dev/null
cat > "$scratch/build.sh" <<'END'
set -euo pipefail
cd /root
mkdir source && tar -xf python3*.orig.tar.* -C source --strip-components=1
cd source
./configure --quiet --prefix=/install --enable-shared --with-ensurepip=install --without-static-libpython \
    --with-ssl-default-suites=openssl CFLAGS=-g0 > /dev/null
make --silent --jobs="$(nproc)" > /dev/null
make --silent install > /dev/null
cd /install
version=$(bin/python3 --version 2> /dev/null || LD_LIBRARY_PATH=lib bin/python3 --version); version=${version#Python }
minor=${version%.*}
rm -rf "lib/python$minor/test" "lib/python$minor/"*/test "lib/python$minor/"*/tests
ln -sf "python$minor" bin/python
find . -name __pycache__ -prune -exec rm -rf {} +
# What the C library does not bring lies beside libpython, found from where each file is.
find bin lib -type f \( -perm -u+x -o -name '*.so*' \) -exec sh -c 'head -c4 "$1" | grep -q ELF' _ {} \; -print > /root/programs
while read -r file; do
    LD_LIBRARY_PATH=/install/lib ldd "$file" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p'
done < /root/programs | sort -u | grep -vE '/install/|/(libc|libm|libdl|librt|libpthread|libutil|ld-linux[^/]*)\.so' > /root/libraries
while read -r library; do cp --dereference "$library" lib/; done < /root/libraries
ls lib/*.so* >> /root/programs
while read -r file; do
    up=$(dirname "$file" | sed 's|[^/]*|..|g')
    strip --strip-unneeded "$file"
    patchelf --set-rpath "\$ORIGIN/$up/lib" "$file"
done < <(sort -u /root/programs)
# Scripts find the Python beside them, as those of standalone builds do.
for script in bin/*; do
    if head -n1 "$script" | grep --text --quiet '^#!/install/bin/python'; then
        { printf '#!/bin/sh\n'"'''exec' \"\$(dirname -- \"\$(realpath -- \"\$0\")\")/python$minor\" \"\$0\" \"\$@\"\n' '''\n"; tail -n +2 "$script"; } > /root/script
        cat /root/script > "$script"
    fi
done
mv /install /root/python
tar --sort=name --owner=0 --group=0 --numeric-owner -C /root -czf "/out/cpython-$version+$(date -u +%Y%m%d)-$(uname -m)-unknown-linux-gnu-install_only_stripped.tar.gz" python
END
docker run --rm --network none --cpu-shares 128 --volume "$scratch/build.sh:/build.sh:ro" --volume "$folder:/out" "$image" nice bash /build.sh
ls "$folder"
