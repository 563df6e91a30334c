# shellcheck shell=sh
# Run by init: the directories that services write to. They are file systems in memory where the root may only be
# read, and then belong to nobody yet.
if [ ! -w / ]; then
    for place in /var/lib/nginx /var/lib/plocate /var/lib/redis; do
        mount -t tmpfs -o nosuid,nodev tmpfs $place
    done
    mkdir -p /var/log/nginx /var/log/redis
    chown redis:redis /var/lib/redis
    chown redis:adm /var/log/redis
fi
mkdir -p /run/redis
chown redis:redis /run/redis
