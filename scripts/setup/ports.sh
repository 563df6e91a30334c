# shellcheck shell=bash
# The ports of rootfs/ports/: our patch on the upstream source that Debian's package is made from, built for riscv64
# under .cache/ports/ by the machine's cross compiler. What it is linked to is older than the image's, whose libraries
# therefore serve.

PORT_REDIS=$CACHE/ports/redis/redis

port_redis_inputs() {
    mapfile -t PORT_INPUTS < <(find rootfs/ports/redis -maxdepth 1 -name '*.[ch]' -o -maxdepth 1 -name '*.patch' | sort)
    PORT_INPUTS+=(scripts/setup/debian.sh scripts/setup/suites.sh scripts/setup/ports.sh)
}

# --- port-redis: Redis with a second event backend ---------------------------------------------------------

port-redis_present() {
    port_redis_inputs
    stamp_matches port-redis "${PORT_INPUTS[@]}" && [[ -x $PORT_REDIS/src/redis-server ]]
}
port-redis_describe_missing() { say "missing for 'port-redis': the patched Redis under .cache/ports/redis (scripts/setup.sh port-redis builds it)"; }

port-redis_install() {
    local number
    # Debian's own patches are left out, those for security among them: what is compared is two event loops.
    number=$(compgen -G "$CACHE/sources/redis_*.orig.tar.*" | head -n 1) || true
    [[ -n $number ]] || step "fetching the source of redis" suite_sources redis-server:riscv64 --tar-only
    step "patching redis" port_redis_unpack
    step "building redis for riscv64" port_redis_build
    rm -rf "$PORT_REDIS"
    mv "$PORT_REDIS.new" "$PORT_REDIS"
    port_redis_inputs
    stamp_write port-redis "${PORT_INPUTS[@]}"
}

port_redis_unpack() {
    local original
    original=$(compgen -G "$CACHE/sources/redis_*.orig.tar.*" | grep -v '\.asc$' | sort -V | tail -n 1) || return 1
    rm -rf "$PORT_REDIS.new"
    mkdir -p "$PORT_REDIS.new"
    tar -C "$PORT_REDIS.new" --strip-components=1 -xf "$original" || return 1
    patch -d "$PORT_REDIS.new" -p1 <rootfs/ports/redis/redis.patch || return 1
    cp rootfs/ports/redis/ae_uring.[ch] "$PORT_REDIS.new/src/" || return 1
    cp rootfs/ports/redis/fast_float_strtod.c "$PORT_REDIS.new/deps/fast_float/"
}

# Without TLS and with the C library's allocator: what both backends share is kept small.
port_redis_build() {
    make -C "$PORT_REDIS.new/src" -j2 CC=riscv64-linux-gnu-gcc AR=riscv64-linux-gnu-ar RANLIB=riscv64-linux-gnu-ranlib \
        uname_S=Linux uname_M=riscv64 OPTIMIZATION=-O2 MALLOC=libc BUILD_TLS=no USE_SYSTEMD=no \
        redis-server redis-cli redis-benchmark
}
