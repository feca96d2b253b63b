#!/bin/sh
# Makes linux-capture.json: packets as a stock Linux hands them to a card that offloads (large, checksums blank), and the same packets as
# Linux itself cut and completed them for a card that does not. Two network namespaces talk over a bridge in a third one; the bridge's port
# towards the receiver has all offloads off. Needs root, iproute2, ethtool, tcpdump, python3; touches nothing outside its namespaces.
set -e
out=$(dirname "$0")/linux-capture.json
dir=$(mktemp -d)
for n in rwa rwb rwc; do ip netns add $n; done
trap 'for n in rwa rwb rwc; do ip netns del $n; done; rm -rf "$dir"' EXIT
ip link add a0 netns rwa address 02:00:00:00:00:01 type veth peer name a1 netns rwc
ip link add b0 netns rwb address 02:00:00:00:00:02 type veth peer name b1 netns rwc
c="ip netns exec rwc"
$c ip link add br0 type bridge
for p in a1 b1; do $c ip link set $p master br0 up; done
$c ip link set br0 up
for end in a:1 b:2; do
  ns=rw${end%:*} if=${end%:*}0 n=${end#*:}
  ip netns exec $ns ip addr add 10.9.8.$n/24 dev $if
  ip netns exec $ns ip addr add fd99::$n/64 dev $if nodad
  ip netns exec $ns ip link set $if up
done
$c ethtool -K b1 tx off tso off gso off sg off tx-udp-segmentation off >/dev/null 2>&1 || true
sleep 2
$c tcpdump -Z root -q -U -i a1 -Q in -w "$dir/in" 2>/dev/null & t1=$!
$c tcpdump -Z root -q -U -i b1 -Q out -w "$dir/out" 2>/dev/null & t2=$!
sleep 1
cat >"$dir/server.py" <<'PY'
import socket, threading, time
def tcp(family, address):
    s = socket.socket(family, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, 7000)); s.listen()
    while True:
        c, _ = s.accept()
        while c.recv(65536): pass
        c.close()
# Answers go to a port that is closed by then: an ICMP message comes back.
def udp(family, address):
    u = socket.socket(family, socket.SOCK_DGRAM); u.bind((address, 7001))
    while True:
        data, sender = u.recvfrom(65536); time.sleep(0.2)
        try: u.sendto(data, sender)
        except OSError: pass
for f, a in ((socket.AF_INET, '10.9.8.2'), (socket.AF_INET6, 'fd99::2')):
    threading.Thread(target=tcp, args=(f, a), daemon=True).start()
    threading.Thread(target=udp, args=(f, a), daemon=True).start()
threading.Event().wait()
PY
cat >"$dir/client.py" <<'PY'
import socket, time
data = bytes((i * 7 + i // 251) & 255 for i in range(4001))
for f, a in ((socket.AF_INET, '10.9.8.2'), (socket.AF_INET6, 'fd99::2')):
    s = socket.create_connection((a, 7000)); s.sendall(data); s.shutdown(socket.SHUT_WR); s.recv(1); s.close()
    u = socket.socket(f, socket.SOCK_DGRAM); u.sendto(data[:77], (a, 7001)); u.sendto(b'', (a, 7001)); u.close(); time.sleep(1)
PY
ip netns exec rwb python3 "$dir/server.py" & srv=$!
sleep 1
ip netns exec rwa python3 "$dir/client.py"
sleep 1
kill $t1 $t2 $srv
wait $t1 $t2 2>/dev/null || true
python3 - "$dir" "$out" <<'PY'
import base64, json, struct, sys, platform
def frames(path):
    b = open(path, 'rb').read(); at = 24; out = []
    while at < len(b):
        n = struct.unpack_from('<I', b, at + 8)[0]; out.append(base64.b64encode(b[at + 16:at + 16 + n]).decode()); at += 16 + n
    return out
json.dump({'kernel': platform.release(), 'before': frames(sys.argv[1] + '/in'), 'after': frames(sys.argv[1] + '/out')}, open(sys.argv[2], 'w'), indent=1)
PY
