import multiprocessing
import pickle

import numpy as np
import pytest
import webdataset

from idol.clip import Clip
from idol.clip.clip import clip_to_files
from idol.data.shards import ShardReader, ShardWriter
from idol.errors import UserError
from support.drawn import drawn_clip


def equal(a: Clip, b: Clip) -> bool:
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("video", "mask", "background"))
    close = np.abs(a.depth - b.depth).max() <= 0.5 / 65535 + 1e-7
    return arrays and close and np.array_equal(a.pose.keypoints, b.pose.keypoints)


@pytest.fixture
def folder(tmp_path):
    writer = ShardWriter(tmp_path / "shards", samples_per_shard=2, image="png")
    writer.write(drawn_clip(seed, frames=2 + seed % 2, moving=seed == 1) for seed in range(5))
    return writer.folder


def test_clips_come_back(folder):
    reader = ShardReader(folder)
    assert len(reader) == 5 and len(reader.shards) == 3
    for seed in (4, 0, 1):  # any order
        clip = drawn_clip(seed, frames=2 + seed % 2, moving=seed == 1)
        assert equal(reader[seed], clip)
        assert reader.entry(seed).subject == clip.subject and reader.entry(seed).frames == clip.frames
    reader.verify()
    assert equal(pickle.loads(pickle.dumps(reader))[3], drawn_clip(3, frames=3))


def test_webdataset_reads_the_same_bytes(folder):
    reader = ShardReader(folder)
    tars = [str(folder / shard.name) for shard in reader.shards]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [s["__key__"] for s in samples] == [reader.entry(i).key for i in range(5)]
    for index, sample in enumerate(samples):
        files = {name.replace("/", "."): data for name, data in reader.files(index).items()}
        assert {k: v for k, v in sample.items() if not k.startswith("__")} == files


def write_shard(folder, index):
    clips = [drawn_clip(2 * index + i) for i in range(2)]
    ShardWriter(folder, samples_per_shard=2).write_shard(index, clips)


def test_processes_write_what_one_process_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=write_shard, args=(tmp_path / "many", index)) for index in (1, 0)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    ShardWriter(tmp_path / "many").finalize()
    ShardWriter(tmp_path / "one", samples_per_shard=2).write(drawn_clip(seed) for seed in range(4))
    for name in ("00000.tar", "00001.tar", "manifest.json"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_complete_shards_are_skipped_and_unfinished_ones_made(tmp_path):
    writer = ShardWriter(tmp_path, samples_per_shard=1)
    writer.write_shard(0, [drawn_clip(0)])

    def never():
        raise AssertionError("a complete shard must not be made again")
        yield

    writer.write_shard(0, never())

    def breaks():
        yield drawn_clip(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_shard(1, breaks())
    assert not writer.is_complete(1) and not list(tmp_path.glob("*.partial"))
    writer.write_shard(1, [drawn_clip(1)])
    writer.finalize()
    assert len(ShardReader(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["no manifest", "broken manifest", "version", "missing tar", "short tar"])
def test_a_damaged_folder_is_told(folder, damage):
    manifest, tar = folder / "manifest.json", folder / "00001.tar"
    match damage:
        case "no manifest":
            manifest.unlink()
        case "broken manifest":
            manifest.write_text('{"version": 1')
        case "version":
            manifest.write_text('{"version": 99, "shards": []}')
        case "missing tar":
            tar.unlink()
        case "short tar":
            tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(UserError):
        ShardReader(folder)


def test_a_changed_byte_fails_the_checksum(folder):
    tar = folder / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(UserError, match="00000.tar"):
        ShardReader(folder).verify()


def test_jpeg_is_close(tmp_path):
    clip = drawn_clip(0)
    ShardWriter(tmp_path).write([clip])
    back = ShardReader(tmp_path)[0]
    assert np.abs(back.video.astype(int) - clip.video.astype(int)).mean() < 4
    assert set(clip_to_files(clip)) == set(ShardReader(tmp_path).files(0))


def test_some_frames_are_those_of_the_whole_clip(tmp_path):
    clips = [drawn_clip(0, frames=4), drawn_clip(1, frames=4, moving=True)]
    ShardWriter(tmp_path, image="png").write(clips)
    reader = ShardReader(tmp_path)
    for i, clip in enumerate(clips):
        some = reader.frames(i, [3, 1])
        for name in ("video", "depth", "mask"):
            assert np.array_equal(getattr(some, name), getattr(reader[i], name)[[3, 1]])
        assert np.array_equal(some.pose.keypoints, clip.pose.keypoints[[3, 1]])
        background = clip.background[[3, 1]] if clip.background.ndim == 4 else clip.background
        assert np.array_equal(some.background, background)
