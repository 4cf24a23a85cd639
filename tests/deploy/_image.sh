# What a builder does with the Containerfile, on an overlay over the file system of this machine in the base image's place;
# then a container of it: another user, a root that is read-only, no shell, a network of its own.
# Arguments: a folder for the overlay, the project, the build stage as a script, the credentials, the environment, the
# words of ENTRYPOINT and CMD, those of HEALTHCHECK.
set -e
folder=$1 project=$2 build=$3 credentials=$4 environment=$5 start=$6 probe=$7
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/context" && mount --bind "$project" "$root/context"
cp "$build" "$root/build"
rm -rf "$root/opt/handclasp"
chroot "$root" /bin/sh -e /build
echo "built: yes"

# The last stage: what it copies is where it was made. An interpreter in root's home is another user's too, here.
chmod o+x "$root$(echo ~root)" 2>/dev/null || true
mkdir -p "$root/var/lib/handclasp" && chown 65532:65532 "$root/var/lib/handclasp"
umount "$root/context"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/handclasp" && cp -r "$credentials/localhost" "$root/run/handclasp/tls"
chown -R 65532:65532 "$root/run/handclasp/tls"
for shell in sh bash dash; do
    [ ! -e "$root/bin/$shell" ] || mount --bind /dev/null "$root/bin/$shell"
done
mount -o remount,ro "$root"

export root credentials environment start probe
exec unshare --net bash -ec '
ip link set lo up
into="chroot --userspec=65532:65532 --groups=65532 $root env -i $environment"
inside() { $into "$@"; }
inside touch /var/lib/handclasp/x 2>/dev/null || echo "read_only: yes"
inside sh -c true 2>/dev/null || echo "no_shell: yes"
$into $start &
for _ in $(seq 200); do
    answer=$(inside $probe 2>/dev/null) && break
    sleep 0.1
done
echo "probe: $answer"
a=$credentials/alice
echo "greeting: $(curl -m 5 -sS --cacert $a/ca.crt --cert $a/tls.crt --key $a/tls.key https://localhost:8443/)"
kill -TERM $! && wait $! && echo "ended: 0"
inside $probe >/dev/null 2>&1 || echo "probe_of_none: $?"'
