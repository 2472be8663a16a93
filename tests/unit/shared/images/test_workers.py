from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from PIL import Image, PngImagePlugin

from shared.errors import NotAllowedValue, TooLarge, Unavailable
from shared.images.decode_pool import ImageWorkers, open_image_workers
from shared.images.photo_quality import PhotoFacts, PhotoLook
from shared.images.validation import ImageLimits
from shared.objects.disk_tree import DiskTree
from shared.objects.placing import Placing
from tests.support import pictures
from tests.support.odd_pictures import grey_of_16_bits_with_a_transparent_level, png_with, png_with_gamma

LIMITS = ImageLimits()


@pytest.fixture
async def workers():
    async with open_image_workers(processes=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Make an image of few bytes that takes a worker seconds: 49 megapixels with transparency."""
    path = tmp_path_factory.mktemp("slow") / "slow.png"
    Image.new("RGBA", (7000, 7000), (9, 99, 199, 99)).save(path, compress_level=1)
    return path


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.jpg"
    path.write_bytes(pictures.jpeg())
    return path


def stored(tmp_path, data):
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


STILLS = [
    pictures.jpeg(),
    pictures.jpeg(progressive=True),
    *(pictures.with_metadata(image_format) for image_format in ("JPEG", "PNG", "WEBP", "GIF")),
]
ANIMATIONS = [pictures.animated_gif(5), pictures.apng(5), pictures.animated_webp(5)]


async def test_a_whole_image_passes_the_full_check(workers, tmp_path):
    for data in STILLS:
        assert (await workers.prepare(stored(tmp_path, data), None, None, LIMITS)).facts.frames == 1
    for data in ANIMATIONS:
        assert (await workers.prepare(stored(tmp_path, data), None, None, LIMITS)).facts.frames == 5


@pytest.mark.parametrize("strip", [True, False])
async def test_a_file_that_is_stored_as_it_is_moves_and_any_other_is_made_anew(workers, tmp_path, strip):
    for data, moves in ((pictures.jpeg(), True), (pictures.with_metadata("JPEG"), not strip)):
        source, file = stored(tmp_path, data), tmp_path / "made"
        number = source.stat().st_ino
        made = await workers.prepare(source, file, None, LIMITS, strip=strip)
        assert (file.stat().st_ino == number, source.exists()) == (moves, not moves)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == made.sha256
        file.unlink()


async def test_a_truncated_image_is_damaged(workers, tmp_path):
    for data in (pictures.saved(pictures.noise(300, 200), "JPEG"), *STILLS, *ANIMATIONS):
        for keep in (0.5, 0.9):
            with pytest.raises(NotAllowedValue) as refusal:
                await workers.prepare(stored(tmp_path, pictures.truncated(data, keep)), None, None, LIMITS)
            assert refusal.value.code == "image_damaged"


async def test_pixels_that_cannot_be_decoded_are_damaged(workers, tmp_path):
    broken = pictures.png_claiming(400, 400)
    with pytest.raises(NotAllowedValue) as refusal:
        await workers.prepare(stored(tmp_path, broken), None, None, LIMITS)
    assert refusal.value.code == "image_damaged"


async def test_a_broken_later_frame_is_damaged(workers, tmp_path):
    data = pictures.apng(4, 64, 64)
    at = data.rindex(b"fdAT")
    size = struct.unpack_from(">I", data, at - 4)[0]
    chunk = pictures.png_chunk(b"fdAT", data[at + 4 : at + 8] + zlib.compress(b"short"))
    with pytest.raises(NotAllowedValue):
        await workers.prepare(stored(tmp_path, data[: at - 4] + chunk + data[at + 8 + size :]), None, None, LIMITS)


async def test_the_limits_hold_in_the_workers_too(workers, tmp_path):
    with pytest.raises(TooLarge) as refusal:
        await workers.prepare(stored(tmp_path, pictures.png_claiming(60_000, 60_000)), None, None, LIMITS)
    assert refusal.value.code == "image_too_large"


async def test_a_text_that_unpacks_to_megabytes_costs_nothing(workers, tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 50_000_000, zip=True)
    facts = await workers.prepare(stored(tmp_path, pictures.png(pnginfo=text)), None, None, LIMITS)
    assert facts.facts.width == 64


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_rendition_stands_upright_and_carries_nothing(workers, tmp_path, orientation):
    upright = Image.new("RGB", (400, 200), "white")
    upright.paste("red", (0, 0, 200, 100))  # top left
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpositions that undo each orientation
    lying = upright.transpose(Image.Transpose(back[orientation])) if orientation in back else upright
    source = stored(tmp_path, pictures.with_metadata("JPEG", orientation, lying))
    for image_format in ("webp", "jpeg"):
        made = await workers.rendition(source, tmp_path / "out", max_width=160, image_format=image_format)
        picture = opened(tmp_path / "out")
        assert (made.width, made.height, made.size) == (160, 80, (tmp_path / "out").stat().st_size)
        assert picture.size == (160, 80)
        assert picture.format == image_format.upper()
        assert picture.getpixel((20, 20))[1] < 60
        assert picture.getpixel((140, 60))[1] > 200
        assert not picture.getexif()
        assert not {"icc_profile", "exif", "xmp", "comment"} & set(picture.info)


async def test_nothing_is_made_larger_than_its_original(workers, tmp_path, small):
    made = await workers.rendition(small, tmp_path / "out", max_width=1920, image_format="webp", quality=50)
    assert (made.width, made.height) == (64, 48)
    made = await workers.thumbnail(small, tmp_path / "out")
    assert (made.width, made.height) == (64, 48)


async def test_transparency_stays_in_webp_and_becomes_white_in_jpeg(workers, tmp_path):
    clear = Image.new("RGBA", (50, 50), (255, 0, 0, 0))
    for data in (
        pictures.saved(clear, "PNG"),
        pictures.saved(clear.quantize(4), "GIF", transparency=0),
        pictures.saved(clear, "WEBP"),
    ):
        source = stored(tmp_path, data)
        await workers.rendition(source, tmp_path / "out", max_width=20, image_format="jpeg")
        assert min(opened(tmp_path / "out").getpixel((10, 10))) > 250
        await workers.rendition(source, tmp_path / "out", max_width=20, image_format="webp")
        assert opened(tmp_path / "out").getpixel((10, 10))[3] == 0


async def test_an_animation_gives_its_first_frame(workers, tmp_path):
    first, second = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (50, 50), "blue")
    for image_format in ("GIF", "PNG", "WEBP"):
        source = stored(tmp_path, pictures.saved(first, image_format, save_all=True, append_images=[second]))
        await workers.thumbnail(source, tmp_path / "out", max_side=20)
        picture = opened(tmp_path / "out")
        assert getattr(picture, "n_frames", 1) == 1
        red, _, blue = picture.convert("RGB").getpixel((10, 10))
        assert red > 200
        assert blue < 60


async def test_colours_are_those_of_the_profile(workers, tmp_path):
    profile = bytearray(pictures.icc_profile())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"  # red light in the blue channel
    data = pictures.saved(Image.new("RGB", (50, 50), "red"), "PNG", icc_profile=bytes(profile))
    await workers.rendition(stored(tmp_path, data), tmp_path / "out", max_width=50, image_format="jpeg")
    red, _, blue = opened(tmp_path / "out").getpixel((10, 10))
    assert blue > 200
    assert red < 60


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
async def test_every_kind_of_pixel_gives_a_thumbnail(workers, tmp_path, mode):
    picture = pictures.gradient(900, 600)
    if mode == "I;16":
        picture = picture.convert("L").convert("I").point(lambda level: level * 257).convert("I;16")
    else:
        picture = picture.convert(mode)
    data = pictures.saved(picture, "JPEG" if mode == "CMYK" else "PNG")
    made, facts = await workers.thumbnail_and_inspect(stored(tmp_path, data), tmp_path / "out")
    assert (made.width, made.height, facts.short_side) == (400, 267, 600)
    grey = opened(tmp_path / "out").convert("L")
    assert grey.getpixel((10, 10)) != grey.getpixel((390, 250)) or mode == "1"
    assert 40 < sum(grey.tobytes()) / len(grey.tobytes()) < 215


@pytest.mark.parametrize("profile", [b"nonsense", b""])
async def test_a_profile_that_cannot_be_read_is_left_out(workers, tmp_path, profile):
    source = stored(tmp_path, pictures.jpeg(icc_profile=profile))
    assert (await workers.thumbnail(source, tmp_path / "out")).width == 64


async def test_very_long_images_have_renditions_too(workers, tmp_path):
    source = stored(tmp_path, pictures.saved(Image.new("RGB", (3, 40_000)), "PNG"))
    made = await workers.rendition(source, tmp_path / "out", max_width=1920, image_format="webp")
    assert (made.width, made.height) == (1, 16_383)
    made = await workers.thumbnail(source, tmp_path / "out")
    assert (made.width, made.height) == (1, 400)


async def test_a_photo_is_measured_as_it_is_displayed_and_its_copies_are_near(workers, tmp_path):
    photo = pictures.photo(1200, 900)
    sharp = await workers.inspect(stored(tmp_path, pictures.saved(photo, "JPEG")))
    assert sharp.short_side == 900
    assert not sharp.is_small
    assert not sharp.is_blurred
    lying = pictures.saved(photo.rotate(90, expand=True), "JPEG", exif=pictures.exif(6), quality=60)
    made, copy = await workers.thumbnail_and_inspect(stored(tmp_path, lying), tmp_path / "thumb")
    assert (made.width, made.height) == (400, 300)
    assert copy.fingerprint.is_near(sharp.fingerprint)
    blurred = await workers.inspect(stored(tmp_path, pictures.saved(pictures.blurred(photo), "JPEG")))
    assert blurred.is_blurred
    large = await workers.inspect(stored(tmp_path, pictures.saved(photo.resize((4800, 3600)), "JPEG")))
    assert large.fingerprint.is_near(sharp.fingerprint)
    other = await workers.inspect(stored(tmp_path, pictures.saved(pictures.photo(1200, 900, 1), "JPEG")))
    assert not other.fingerprint.is_near(sharp.fingerprint)


async def test_what_cannot_be_made_leaves_no_file(workers, tmp_path):
    source = stored(tmp_path, pictures.png_claiming(400, 400))
    with pytest.raises(NotAllowedValue):
        await workers.thumbnail(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_file_that_was_there_is_replaced_whole(workers, tmp_path, small):
    (tmp_path / "out").write_bytes(bytes(100_000))
    made = await workers.thumbnail(small, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == made.size


async def test_a_task_that_takes_too_long_is_damaged_and_the_next_one_works(tmp_path, slow, small):
    async with open_image_workers(processes=1, timeout_s=0.5) as workers:
        with pytest.raises(NotAllowedValue) as refusal:
            await workers.rendition(slow, tmp_path / "out", max_width=1920, image_format="webp")
        assert refusal.value.code == "image_damaged"
        assert not (tmp_path / "out").exists()
    async with open_image_workers(processes=1, timeout_s=20) as workers:
        assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


async def test_a_task_that_needs_too_much_memory_is_damaged_and_the_next_one_works(slow, small):
    async with open_image_workers(processes=1, memory_bytes=200 * 2**20) as workers:
        with pytest.raises(NotAllowedValue):
            await workers.prepare(slow, None, None, LIMITS)
        assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


def worker_pids():
    """Find this process's workers among all processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_bytes().rpartition(b") ")[2].split()[1])
            if parent == os.getpid() and b"shared.images" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def test_a_worker_that_is_killed_between_two_images_costs_neither(workers, small):
    for _ in range(5):
        await workers.prepare(small, None, None, LIMITS)
        for pid in worker_pids():
            os.kill(pid, signal.SIGKILL)
        assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


async def test_a_worker_that_dies_fails_its_task_alone(workers, tmp_path, slow, small):
    await workers.prepare(small, None, None, LIMITS)
    task = asyncio.create_task(workers.rendition(slow, tmp_path / "out", max_width=1920, image_format="webp"))
    await asyncio.sleep(0.3)  # until it decodes
    for pid in worker_pids():  # those that other tests left idle, too
        os.kill(pid, signal.SIGSEGV)
    with pytest.raises(NotAllowedValue) as refusal:
        await task
    assert refusal.value.code == "image_damaged"
    assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


async def test_a_worker_that_the_system_kills_says_nothing_of_its_image(workers, tmp_path, slow, small):
    await workers.prepare(small, None, None, LIMITS)
    task = asyncio.create_task(workers.rendition(slow, tmp_path / "out", max_width=1920, image_format="webp"))
    await asyncio.sleep(0.3)  # until it decodes
    for pid in worker_pids():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable) as refusal:
        await task
    assert (refusal.value.code, refusal.value.headers["Retry-After"]) == ("image_workers_busy", "1")
    assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


async def test_a_worker_lets_others_go_first_also_where_each_session_is_scheduled_as_one(workers, small):
    await workers.inspect(small)
    (pid,) = worker_pids()
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    with suppress(FileNotFoundError):  # a kernel without such groups
        assert Path(f"/proc/{pid}/autogroup").read_text().endswith("nice 10\n")


async def test_a_worker_that_dies_between_two_tasks_is_replaced(workers, small):
    await workers.prepare(small, None, None, LIMITS)
    os.kill(worker_pids()[0], signal.SIGKILL)
    await asyncio.sleep(0.5)
    assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_the_workers_do_their_work_on_either_event_loop(runner, tmp_path, small, slow):
    async def work():
        async with open_image_workers(processes=2, timeout_s=0.5) as workers:
            facts = await asyncio.gather(*(workers.prepare(small, None, None, LIMITS) for _ in range(20)))
            assert {fact.facts.width for fact in facts} == {64}
            with pytest.raises(NotAllowedValue):
                await workers.rendition(slow, tmp_path / "out", max_width=1920, image_format="webp")
            assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64

    runner(work())


async def test_a_full_queue_asks_to_come_again(slow, small, tmp_path):
    async with open_image_workers(processes=1, queue_limit=1) as workers:
        tasks = [asyncio.create_task(workers.prepare(slow, None, None, LIMITS)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refusal:
            await workers.thumbnail(small, tmp_path / "out")
        assert refusal.value.code == "image_workers_busy"
        assert refusal.value.headers["Retry-After"] == "1"
        assert not (tmp_path / "out").exists()
        assert [made.facts.width for made in await asyncio.gather(*tasks)] == [7000, 7000]
        assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64


async def test_cancelling_ends_the_work_and_leaves_no_file(workers, tmp_path, slow, small):
    await workers.prepare(small, None, None, LIMITS)
    (before,) = worker_pids()
    task = asyncio.create_task(workers.rendition(slow, tmp_path / "out", max_width=1920, image_format="webp"))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "out").exists()
    assert (await workers.prepare(small, None, None, LIMITS)).facts.width == 64
    assert before not in worker_pids()
    assert not (tmp_path / "out").exists()


async def test_the_work_of_whoever_is_cancelled_as_its_turn_comes_is_ended(small):
    async with open_image_workers(processes=1) as workers:
        await workers.inspect(small)
        before = set(worker_pids())

        async def first():
            await workers.inspect(small)
            second.cancel()  # whose request has just been sent, but which does not know yet

        task = asyncio.create_task(first())
        second = asyncio.create_task(workers.inspect(small))
        await task
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await asyncio.wait_for(workers.inspect(small), 20)).short_side == 48
        assert not before & set(worker_pids())


async def test_whoever_is_cancelled_as_its_answer_comes_does_not_end_the_next_ones_work(small, monkeypatch):
    give_turn = ImageWorkers._give_turn
    async with open_image_workers(processes=1) as workers:
        tasks = [asyncio.create_task(workers.inspect(small)) for _ in range(2)]

        def cancel_first(pool, worker):
            give_turn(pool, worker)
            tasks[0].cancel()

        monkeypatch.setattr(ImageWorkers, "_give_turn", cancel_first)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, PhotoFacts]


async def test_closing_leaves_no_process_and_nobody_waiting(slow):
    async with open_image_workers(processes=2) as workers:
        tasks = [asyncio.create_task(workers.prepare(slow, None, None, LIMITS)) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert worker_pids()
    assert not worker_pids()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Unavailable] * 3


SCRIPT = """
    import asyncio, pathlib, sys
    from shared.images.validation import ImageLimits
    from shared.images.decode_pool import open_image_workers

    async def main():
        context = open_image_workers(processes=2)
        workers = await context.__aenter__()
        await asyncio.gather(*(workers.prepare(pathlib.Path(sys.argv[1]), None, None, ImageLimits()) for _ in range(2)))
        print(*[worker.process.pid for worker in workers._workers], flush=True)
        if sys.argv[2] == "work":
            asyncio.create_task(workers.prepare(pathlib.Path(sys.argv[3]), None, None, ImageLimits()))
        if sys.argv[2] != "leave":
            await asyncio.sleep(60)

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["leave", "stay", "work"])
def test_a_process_that_ends_in_any_way_leaves_no_worker_behind(small, slow, tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, script, small, end, slow], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        if end != "leave":
            process.kill()
        process.wait(20)
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def test_what_a_worker_loads_is_little(tmp_path):
    code = "import sys, shared.images.worker_main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert not {"aiohttp", "asyncio", "pydantic", "sqlalchemy"} & set(loaded)


def test_the_factories_make_the_size_that_is_asked():
    for size in (5_000, 200_000, 5 * 2**20):
        for image_format in ("JPEG", "PNG"):
            data = pictures.of_bytes(size, image_format)
            assert len(data) == size
            assert Image.open(io.BytesIO(data)).size == (32, 32)


@pytest.mark.parametrize(("gamma", "shown"), [(1.0, 188), (0.45455, 128), (0.5, 136)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
async def test_a_gamma_is_honoured_as_browsers_do(workers, tmp_path, gamma, shown, mode):
    data = png_with_gamma(gamma, Image.new(mode, (20, 20), (128, 128, 128) if mode == "RGB" else 128))
    await workers.rendition(stored(tmp_path, data), tmp_path / "out", max_width=20, image_format="jpeg")
    assert opened(tmp_path / "out").getpixel((10, 10)) == pytest.approx((shown,) * 3, abs=3)


@pytest.mark.parametrize(
    ("primaries", "transfer", "expected"),
    [(1, 13, (200, 120, 40)), (12, 13, (213, 115, 0)), (1, 8, (229, 182, 110)), (9, 16, (200, 120, 40))],
)
async def test_the_code_points_of_a_colour_space_are_honoured_except_for_hdr(
    workers, tmp_path, primaries, transfer, expected
):
    chunk = pictures.png_chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
    data = png_with(chunk, Image.new("RGB", (20, 20), (200, 120, 40)))
    await workers.rendition(stored(tmp_path, data), tmp_path / "out", max_width=20, image_format="jpeg")
    assert opened(tmp_path / "out").getpixel((10, 10)) == pytest.approx(expected, abs=6)


async def test_one_level_of_16_bit_grey_is_transparent_and_its_neighbour_is_not(workers, tmp_path):
    source = stored(tmp_path, grey_of_16_bits_with_a_transparent_level())
    await workers.rendition(source, tmp_path / "out", max_width=160, image_format="webp", quality=100)
    assert [opened(tmp_path / "out").getpixel((at, 0))[3] for at in range(4)] == [255, 255, 255, 0]


async def test_thin_images_have_renditions_and_thumbnails(workers, tmp_path):
    for size in ((1000, 3), (6000, 3), (3, 1000)):
        source = stored(tmp_path, pictures.jpeg(*size))
        made = await workers.rendition(source, tmp_path / "out", max_width=160, image_format="webp")
        assert (made.width, made.height >= 1) == (min(160, size[0]), True)
        made, facts = await workers.thumbnail_and_inspect(source, tmp_path / "out")
        assert (max(made.width, made.height), facts.short_side) == (400, 3)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_photo_is_checked_looked_at_and_stored_as_it_was_sent_in_one_trip(workers, tmp_path, in_memory):
    data, file, root = pictures.jpeg(600, 400), tmp_path / "photo", tmp_path / "objects"
    root.mkdir()
    if not in_memory:
        file.write_bytes(data)
    placing = Placing(DiskTree(str(root)), {"jpg": "order/photo.jpg"})
    made = await workers.prepare_photo(file, data if in_memory else None, LIMITS, place=placing.place)
    assert (made.key, made.width, made.height) == ("order/photo.jpg", 600, 400)
    assert (root / made.key).read_bytes() == data
    _, measured = await workers.thumbnail_and_inspect(file, tmp_path / "thumbnail")
    assert made.look == PhotoLook(measured, (tmp_path / "thumbnail").read_bytes())


async def test_a_damaged_photo_is_refused_and_stored_nowhere(workers, tmp_path):
    placing = Placing(DiskTree(str(tmp_path)), {"jpg": "photo.jpg"})
    with pytest.raises(NotAllowedValue):
        await workers.prepare_photo(
            tmp_path / "spool", pictures.truncated(pictures.jpeg(600, 400)), LIMITS, place=placing.place
        )
    assert list(tmp_path.iterdir()) == []
