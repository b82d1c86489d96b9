#!/bin/sh
# Says whether the broker is healthy, and has it restarted when nothing else helps.
#
# After a write error, such as that of a full disk, nats-server 2.15.3 writes nothing more
# to the stream until it is restarted, also when the disk has room again (server/stream.go,
# setWriteErrLocked). Docker restarts a container that ends, but not one that is unhealthy:
# so the health check of compose.yaml, which this is, ends process 1. It waits until the disk
# has 64 MiB, because a restart on a full one mends nothing. It asks, and tries nothing out:
# a file as large would take the last bytes from streams that are still well.
#
# Where systemd runs the broker, a timer runs this: OPERATING.md, "A full disk".
set -u
store=${NATS_STORE:-/data}
monitor=${NATS_MONITOR:-127.0.0.1:8222}
restart=${NATS_RESTART:-kill 1}

# Also says no while JetStream is still recovering its streams.
wget --quiet --spider "http://$monitor/healthz" && exit 0

# Before the topology was applied it says no of the folders of these streams, which the
# tmpfs mounts of compose.yaml make: nats-server 2.15.3, server/monitor.go. Then JetStream
# itself must be well.
for stream in NOTIFICATIONS LOOKUP_RETRIES STATUSES ORDERS ORDER_PAYMENTS; do
  if ! test -e "$store/jetstream/ARAUTO/streams/$stream/meta.inf"; then
    wget --quiet --spider "http://$monitor/healthz?js-enabled-only=true"
    exit
  fi
done

# wget shows no body of a 503, which says why.
why=$(printf 'GET /healthz?details=true HTTP/1.0\r\n\r\n' | nc "${monitor%:*}" "${monitor##*:}")
case $why in
*'write error: '*) ;;
*) exit 1 ;;
esac

free=$(df -Pk "$store" | awk 'NR == 2 { print $4 }')
if test "${free:-0}" -lt 65536; then
  echo 'a write error, and the disk has no room: free 64 MiB or more, then the broker is restarted'
  exit 1
fi
echo 'a write error, and the disk has room: the broker is restarted'
$restart
exit 1
