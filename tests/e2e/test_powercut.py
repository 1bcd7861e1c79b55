"""The relay on a real file system that is shut down under it, without flushing its log."""
import os

import pytest


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_cut_drops_what_is_not_synced(disk, kind):
    """Without this the other tests would prove nothing: what was synced is there after the cut, what was only written is not."""
    d = disk(kind)
    with open(d.path / "synced", "wb") as file:
        file.write(b"s" * 10000)
        file.flush()
        os.fsync(file.fileno())
        with open(d.path / "written", "wb") as other:
            other.write(b"w" * 10000)
        file.write(b"+" * 10000)
        file.flush()
        os.rename(d.path / "synced", d.path / "renamed")
        d.shutdown()
        with pytest.raises(OSError):
            os.fsync(file.fileno())
    d.unmount()
    d.mount()
    left = {p.name: p.read_bytes() for p in d.path.iterdir() if p.is_file()}
    assert left == {"synced": b"s" * 10000}
    d.unmount()
    d.check()
