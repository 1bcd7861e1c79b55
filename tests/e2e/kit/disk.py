"""
Small file systems of our own: ext4, xfs (or another that mkfs and mount know) in an image file on a loop device. For the faults that only a
real file system has: full, out of inodes, read-only, and gone in the middle of its work.

    d = disk("xfs", size="512M")     # the fixture of conftest.py: skips where loop devices are not permitted
    relay(..., spool=f'path = "{d.path}/spool"')
    d.shutdown(); relay.kill(); d.unmount(); d.mount()

Everything lies in a folder with our prefix, whose lock its owner holds: what a killed run left is found by that, and cleaned up. A loop device
belongs to its mount (mount -o loop) and goes with it.
"""
import errno
import fcntl
import functools
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

from kit.wait import until

PREFIX = "pw-disk-"
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH, XFS_FSOP_GOING_FLAGS_NOLOGFLUSH
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "xfs": ["mkfs.xfs", "-q", "-f"]}
LEAST = {"ext4": "64M", "xfs": "304M"}  # mkfs.xfs makes none below 300 MiB


class Disk:
    """
    path: where it is mounted, open to all. size: as in truncate(1), default the least of its kind. inodes: ext4 only. options: of mount.
    Made and mounted at once.
    """

    def __init__(self, kind="ext4", size=None, inodes=None, options=""):
        assert inodes is None or kind == "ext4", "only mkfs.ext4 takes a number of inodes"
        clean_up()
        self.kind, self.options = kind, options
        making = pathlib.Path(tempfile.mkdtemp(prefix="new-" + PREFIX))
        making.chmod(0o755)
        self.lock = os.open(making / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = making.with_name(making.name.removeprefix("new-"))
        making.rename(self.folder)  # only now clean_up() of another process sees it
        self.image, self.path = self.folder / "image", self.folder / "at"
        self.path.mkdir()
        try:
            run("truncate", "-s", size or LEAST.get(kind, "128M"), self.image)
            run(*MKFS.get(kind, [f"mkfs.{kind}"]), *(["-N", str(inodes)] if inodes else []), self.image)
            self.mount()
        except BaseException:
            self.close()
            raise

    # --- mounting

    def mount(self, options=None):
        """options: instead of those given at the beginning. After a shutdown this replays the file system's log."""
        options = self.options if options is None else options
        run("mount", "-t", self.kind, "-o", ",".join(filter(None, ["loop", options])), self.image, self.path, tries=50)
        self.path.chmod(0o755)

    def unmount(self):
        """Of a file system that nobody has files on any more, in another mount namespace either: then its loop device is gone."""
        run("umount", self.path, tries=200)
        until(lambda: not run("losetup", "-j", self.image), 30, "somebody still has it mounted")

    def remount(self, how):
        """"ro" or "rw". The kernel refuses "ro" (EBUSY) while a file is open for writing: see abort()."""
        run("mount", "-o", f"remount,{how}", self.path)

    def abort(self):
        """ext4 as after an error of its own (errors=remount-ro): every write is answered EROFS, until unmount() and mount()."""
        assert self.kind == "ext4"
        run("mount", "-o", "remount,abort", self.path)

    def shutdown(self):
        """
        Stops the file system where it is: whatever it has not written yet, its log too, never reaches the device. Everything after is
        answered EIO; unmount() and mount() bring back what was there.
        """
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def check(self):
        """The file system itself is whole (unmounted, its log replayed)."""
        if self.kind in ("ext4", "xfs"):
            run(*{"ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n", "-f"]}[self.kind], self.image)

    # --- filling

    @property
    def free_bytes(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def fill(self, leave=0):
        """A file that takes all space but `leave` bytes. Grows the one that is there."""
        fd = os.open(self.path / "filler", os.O_CREAT | os.O_RDWR)
        try:
            piece = 1 << 30
            while piece >= 512:
                if piece <= self.free_bytes - leave or (leave == 0 and piece <= 65536):
                    try:
                        os.posix_fallocate(fd, os.fstat(fd).st_size, piece)
                        continue
                    except OSError as e:
                        assert e.errno == errno.ENOSPC, e
                piece //= 2
        finally:
            os.fsync(fd)
            os.close(fd)

    def fill_inodes(self, leave=0):
        """Empty files until the file system has no inode left, less `leave`."""
        folder, made = self.path / "fillers", []
        folder.mkdir(exist_ok=True)
        try:
            while True:
                made.append(folder / str(len(os.listdir(folder)) if not made else int(made[-1].name) + 1))
                made[-1].touch(exist_ok=False)
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
        for path in made[:-1][len(made) - 1 - leave:]:
            path.unlink()

    def empty(self):
        """Takes back what fill() and fill_inodes() took."""
        (self.path / "filler").unlink(missing_ok=True)
        shutil.rmtree(self.path / "fillers", ignore_errors=True)

    # --- the end

    def close(self):
        take_away(self.folder)
        os.close(self.lock)


def run(*argv, tries=1):
    """tries: each a tenth of a second after the other, for a device that is let go a moment later."""
    for left in reversed(range(tries)):
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        if left:
            time.sleep(0.1)
    raise AssertionError(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def is_mounted(path):
    with open("/proc/self/mounts") as table:
        return any(line.split()[1] == str(path) for line in table)


def take_away(folder):
    """Whatever state it is in. A mount that somebody still has files on goes from our sight now and for good with the last of them."""
    while is_mounted(folder / "at"):
        if subprocess.run(["umount", str(folder / "at")], capture_output=True).returncode != 0:
            run("umount", "-l", folder / "at")
    shutil.rmtree(folder, ignore_errors=True)


def clean_up():
    """What runs that were killed left behind: folders of ours whose lock nobody holds."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # being made, or gone this moment
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            take_away(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


@functools.lru_cache(maxsize=None)
def why_not(kind):
    """Why such a file system cannot be made here; "": it can."""
    if os.geteuid() != 0:
        return "only root may mount file systems"
    try:
        Disk(kind).close()
        return ""
    except (AssertionError, OSError) as problem:
        return f"no {kind} on a loop device here (it needs CAP_SYS_ADMIN and /dev/loop*): {problem}"
