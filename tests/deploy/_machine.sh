# A machine of its own in namespaces: systemd as its first process, on an overlay over the file system of this one. All
# that it changes is in memory, and gone with it. Arguments: a folder for the overlay, the project, an interpreter, its
# site-packages, the script to run there, the file for its output.
set -e
folder=$1 project=$2 python=$3 packages=$4 script=$5 out=$6
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
# Devices of its own: what runs there has no way to those of this machine.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/mqueue" "$root/dev/hugepages"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
# Nothing but what the script asks for: no udev, no services of this machine.
rm -rf "$root"/etc/systemd/system/* "$root"/lib/systemd/system/*.target.wants

# The commands where the units expect them: this project, this interpreter's packages.
home=$root/opt/handclasp
mkdir -p "$home/bin" "$home/packages" "$home/project"
mount --bind "$packages" "$home/packages"
mount --bind "$project" "$home/project"
scripts='import sys, tomllib
for name, entry in tomllib.load(open(sys.argv[1], "rb"))["project"]["scripts"].items():
    print(name + ":" + entry)'
for command in $("$python" -c "$scripts" "$project/pyproject.toml"); do
    IFS=: read -r name module function <<< "$command"
    printf '#!%s -P\nimport sys\nsys.path[:0] = ["/opt/handclasp/project", "/opt/handclasp/packages"]\nfrom %s import %s as main\nif __name__ == "__main__":\n    main()\n' \
        "$python" "$module" "$function" > "$home/bin/$name"
done
chmod 755 "$home/bin"/*
units=$root/etc/systemd/system
cp "$project"/deploy/systemd/*.service "$project"/deploy/systemd/*.socket "$project"/deploy/systemd/*.timer "$units"
cp "$project/deploy/systemd/live.conf" "$root/live.conf"
mkdir -p "$root/usr/lib/sysusers.d"
cp "$project/deploy/systemd/handclasp.sysusers" "$root/usr/lib/sysusers.d/handclasp.conf"
systemd-sysusers --root="$root" handclasp.conf

touch "$root/out"
mount --bind "$out" "$root/out"
cp "$script" "$root/script"
printf '[Unit]\nDefaultDependencies=no\nWants=script.service\n' > "$units/script.target"
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/bash /script\nStandardOutput=append:/out\nStandardError=append:/out\nExecStopPost=/bin/systemctl exit --no-block --force\n' \
    > "$units/script.service"

export root
exec unshare --pid --fork --kill-child --uts --ipc --net --cgroup bash -ec '
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd" || {
    umount "$root/sys/fs/cgroup"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
}
ip link set lo up
cd "$root"
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=script.target --log-target=console --show-status=no'
