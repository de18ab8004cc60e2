"""Damaged files of every format through the door of `predict`: scans or a refusal, and no crash, hang or growth.

    python benchmarks/fuzz.py hypothesis|atheris [--seconds 600] [--seed 0] [--only SUFFIX ...] [--patience 150] [-o DIR]

`hypothesis` damages files made on the spot, and pydicom's own, by rule; `atheris` (`pip install -e '.[benchmarks]'`) changes them
at random and keeps what reaches new lines. What is packed, such as the values of a .nii.gz or the pieces of a PNG, is damaged
inside and packed again, so that checksums do not end every try. Every input is opened as a file and as a folder of series, and
prepared for the network.

A process of its own does the work; it is started again when an input ends it, or keeps it for --patience seconds, more than any
decoder apart may take. DIR (by default `fuzz`) keeps the smallest input of every fault, and those that took most time and memory.
The memory that atheris itself takes grows with what it has found. The exit status is 1 when there is a fault.
"""

import argparse
import faulthandler
import hashlib
import io
import json
import logging
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_MB = 2000
"""That one input may take; more is a fault. The largest slices and volumes that are allowed stay below."""
ENGINES = ("hypothesis", "atheris")
SALT = b"no secret at all"
SIDE = (24, 20)
MOST_BYTES = 60_000
TELL_S = 5.0
RESTARTS = 1000
INSTRUMENTED = ["tumorscope.data", "PIL", "pydicom", "nibabel", "pymatreader"]


def gzipped(content: bytes) -> bytes:
    """Pack as GZIP, quickly."""
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(content) + packer.flush()


def archived(content: bytes) -> bytes:
    """Pack as the one array of an NPZ archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("images.npy", content)
    return stream.getvalue()


def checked(content: bytes) -> bytes:
    """Give the pieces of a PNG file the checksums that they need, as far as their lengths can be followed."""
    fixed, place = bytearray(content), 8
    while place + 12 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)


def packed_matlab(content: bytes) -> bytes:
    """Pack what follows the header of a MATLAB file of version 5 as one compressed element."""
    packed = zlib.compress(content[128:], 1)
    return content[:128] + struct.pack("<II", 15, len(packed)) + packed


def kept(content: bytes) -> bytes:
    """Leave bytes as they are."""
    return content


KINDS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    *((suffix, kept) for suffix in (".jpg", ".png", ".tif", ".bmp", ".webp", ".gif", ".npy", ".npz", ".mat", ".nii", ".nii.gz")),
    (".dcm", kept),
    (".png", checked),
    (".npz", archived),
    (".nii.gz", gzipped),
    (".mat", packed_matlab),
)
"""What a file is called, and how its damaged content is packed."""


def seeds() -> list[bytes]:
    """Return sound files, each behind a byte that is its place in `KINDS`."""
    made = [*pictures(), *arrays(), *matlab_files(), *volumes(), *dicom_files()]
    return [bytes([KINDS.index((suffix, pack))]) + content for suffix, pack, content in made if len(content) <= MOST_BYTES]


Seed = tuple[str, Callable[[bytes], bytes], bytes]


def drawn() -> Any:  # noqa: ANN401
    """Return a picture of 8 bits with smooth parts, edges and noise."""
    import numpy as np

    rows, columns = np.ogrid[: SIDE[0], : SIDE[1]]
    noise = np.random.default_rng(0).integers(0, 30, SIDE)
    return (((rows - 11) ** 2 + (columns - 9) ** 2 < 70) * 150 + rows * 3 + noise).astype(np.uint8)


def pictures() -> Iterator[Seed]:
    """Yield picture files, as many ways of storing as Pillow writes."""
    import numpy as np
    from PIL import Image

    grey = Image.fromarray(drawn())
    colour = Image.merge("RGB", (grey, grey.rotate(90).resize(grey.size), grey))
    words, real = Image.fromarray(drawn().astype(np.uint16) * 200), Image.fromarray(drawn().astype(np.float32) * 1.7)
    palette = colour.quantize(16)
    jpeg, png, tiff = (".jpg", kept), (".png", checked), (".tif", kept)
    ways: list[tuple[tuple[str, Callable[[bytes], bytes]], Image.Image, dict[str, Any]]] = [
        (jpeg, grey, {}),
        (jpeg, colour, {"progressive": True}),
        (jpeg, colour.convert("CMYK"), {}),
        ((".png", kept), grey, {}),
        *((png, image, {}) for image in (grey, words, palette, colour.convert("RGBA"), grey.convert("1"), grey.convert("LA"))),
        (png, palette, {"transparency": 3}),
        *((tiff, image, {}) for image in (grey, words, real, colour, palette, grey.convert("1"))),
        *((tiff, words, {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits")),
        *((tiff, image, {"compression": "jpeg"}) for image in (grey, colour)),
        (tiff, grey.convert("1"), {"compression": "group4"}),
        (tiff, real, {"compression": "tiff_deflate"}),
        (tiff, grey, {"save_all": True, "append_images": [grey, grey.resize((10, 12))]}),
        *(((".bmp", kept), image, {}) for image in (grey, colour, palette)),
        *(((".webp", kept), colour, {"lossless": lossless}) for lossless in (True, False)),
        *(((".gif", kept), image, {}) for image in (grey, palette)),
    ]
    names = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".bmp": "BMP", ".webp": "WEBP", ".gif": "GIF"}
    for (suffix, pack), image, options in ways:
        stream = io.BytesIO()
        image.save(stream, names[suffix], **options)
        yield suffix, pack, stream.getvalue()


def arrays() -> Iterator[Seed]:
    """Yield NPY files and NPZ archives."""
    import numpy as np

    stack = np.stack([drawn(), drawn()[::-1], drawn()[:, ::-1]])
    colours = np.repeat(stack[..., None], 3, axis=3)
    for array in (drawn(), stack, stack / 255, np.asfortranarray(stack.astype(np.int16) - 9), colours, stack.astype(">f4") * 1.7):
        stream = io.BytesIO()
        np.save(stream, array)
        yield ".npy", kept, stream.getvalue()
        yield ".npz", archived, stream.getvalue()
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, images=stack, labels=np.arange(3), masks=stack > 90)
        yield ".npz", kept, stream.getvalue()


def matlab_files() -> Iterator[Seed]:
    """Yield MATLAB files in Cheng's layout: version 5, plain and compressed, and version 7.3."""
    import h5py
    import numpy as np
    from scipy.io import savemat

    border = np.array([3.5, 3.5, 9.5, 3.5, 9.5, 8.5])
    image = drawn().astype(np.int16)
    fields = {"label": 1.0, "PID": "100360", "image": image, "tumorBorder": border, "tumorMask": image > 150}
    plain, compressed = io.BytesIO(), io.BytesIO()
    savemat(plain, {"cjdata": fields})
    savemat(compressed, {"cjdata": fields}, do_compression=True)
    yield ".mat", kept, plain.getvalue()
    yield ".mat", kept, compressed.getvalue()
    yield ".mat", packed_matlab, plain.getvalue()
    classes = {"label": "double", "PID": "char", "image": "int16", "tumorBorder": "double", "tumorMask": "logical"}
    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in {**fields, "PID": np.array([[ord(digit)] for digit in "100360"], dtype=np.uint16)}.items():
            array = np.atleast_2d(np.asarray(value))
            array = array.astype(np.uint8) if name == "tumorMask" else array
            packing = {"chunks": True, "compression": "gzip"} if array.size > 100 else {}
            entry = group.create_dataset(name, data=array if name == "PID" else array.T, **packing)
            entry.attrs["MATLAB_class"] = np.bytes_(classes[name])
            if classes[name] in ("char", "logical"):
                entry.attrs["MATLAB_int_decode"] = np.int32(2 if name == "PID" else 1)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64 HDF5 schema 1.00 .".ljust(124) + (0x0200).to_bytes(2, "little") + b"IM"
    yield ".mat", kept, header + content.getvalue()[len(header) :]


def volumes() -> Iterator[Seed]:
    """Yield NIfTI volumes of both versions and several types."""
    import nibabel
    import numpy as np

    stack = np.stack([drawn(), drawn()[::-1], drawn()[:, ::-1]], axis=2)
    turned = np.array([[0, -1.0, 0, 5], [0.9, 0, 0, -3], [0, 0.1, 4.0, 0], [0, 0, 0, 1]])
    scaled = nibabel.Nifti1Image(stack.astype(np.int16), turned)
    scaled.header.set_slope_inter(0.5, -20)
    for image in (
        nibabel.Nifti1Image(stack, np.eye(4)),
        scaled,
        nibabel.Nifti1Image(stack.astype(">f4"), turned),
        nibabel.Nifti2Image(stack.astype(np.float64) * 1.7, turned),
        nibabel.Nifti1Image(stack[..., :1], None),
    ):
        yield from ((".nii", kept, image.to_bytes()), (".nii.gz", gzipped, image.to_bytes()))
        yield ".nii.gz", kept, gzipped(image.to_bytes())


def dicom_files() -> Iterator[Seed]:
    """Yield DICOM files: one as scanners write them, one of many frames, and what pydicom ships."""
    import numpy as np
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    def part(**elements: object) -> Dataset:
        dataset = Dataset()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        return dataset

    stack = np.stack([drawn(), drawn()[::-1]]).astype(np.uint16) * 12
    shape = {"Rows": SIDE[0], "Columns": SIDE[1], "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    look = {"RescaleSlope": 2, "RescaleIntercept": -5, "PixelPaddingValue": 0}
    place = {"ImagePositionPatient": [0, 0, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    table = part(LUTDescriptor=[4, 100, 8], LUTData=bytes([0, 0, 90, 0, 170, 0, 255, 0]), LUTExplanation="a")
    frames = [
        part(
            PlanePositionSequence=[part(ImagePositionPatient=[0, 0, float(number)])],
            FrameVOILUTSequence=[part(WindowCenter=900, WindowWidth=1500)],
            PixelValueTransformationSequence=[part(RescaleSlope=2, RescaleIntercept=number)],
        )
        for number in range(2)
    ]
    shared = [part(PixelMeasuresSequence=[part(PixelSpacing=[1, 1])])]
    for elements, pixels in (
        ({**look, **place, "WindowCenter": [900, 20], "WindowWidth": [1500, 40], "PixelSpacing": [0.9, 0.9]}, stack[0]),
        ({**look, "VOILUTSequence": [table], "PhotometricInterpretation": "MONOCHROME1"}, stack[0]),
        ({"NumberOfFrames": 2, "PerFrameFunctionalGroupsSequence": frames, "SharedFunctionalGroupsSequence": shared}, stack),
    ):
        usual = {"Modality": "MR", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PatientID": "P-1"}
        names = {"SOPClassUID": MRImageStorage, "SOPInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2", "InstanceNumber": 1}
        dataset = part(**(usual | names | shape | elements))
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        yield ".dcm", kept, stream.getvalue()
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        yield ".dcm", kept, path.read_bytes()


@dataclass(slots=True)
class Tally:
    """What came of the inputs of one process, or of all.

    Attributes:
        inputs: How many.
        outcomes: How often each outcome was seen: scans, or an error and its fault.
        formats: How many inputs of each suffix gave scans.
        faults: What must not be, with how often it was.
        slowest_s: Of one input, by the clock, since decoders may work in a process of their own.
        greediest_mb: That one input took in this process while it was opened, above what was held before.
        memory_mb: Held after each `TELL_S` seconds.
        finished: Whether the process ended by itself.
    """

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0
    greediest_mb: float = 0
    memory_mb: list[float] = field(default_factory=list)
    finished: bool = False

    def add(self, other: "Tally") -> None:
        """Take the numbers of another process."""
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.formats += other.formats
        self.faults += other.faults
        self.slowest_s, self.greediest_mb = max(self.slowest_s, other.slowest_s), max(self.greediest_mb, other.greediest_mb)
        self.memory_mb = max(self.memory_mb, other.memory_mb, key=len)

    def write(self, path: Path) -> None:
        """Leave the numbers for whoever started the process."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps({slot: getattr(self, slot) for slot in self.__slots__}))
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """Return the numbers that a process left; none where it left none."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text())
        return cls(**content | {name: Counter(content[name]) for name in ("outcomes", "formats", "faults")})


class Door:
    """Opens inputs as `predict` opens files, and keeps count."""

    def __init__(self, folder: Path, keep: Path, *, patience_s: float) -> None:
        from tumorscope.data.dicom_series import open_series
        from tumorscope.data.opening import open_scans
        from tumorscope.predict import Predictor

        self.folder, self.keep, self.patience_s = folder, keep, patience_s
        self.tally, self._told = Tally(), time.monotonic()
        self._predictor = Predictor.load(threads=1)
        self._open_scans, self._open_series = open_scans, open_series

    def take(self, inputs: bytes) -> None:
        """Open one input: a byte that tells its kind, and its content."""
        suffix, pack = KINDS[inputs[0] % len(KINDS)] if inputs else KINDS[0]
        path = self.folder / f"a{suffix}"
        path.write_bytes(pack(inputs[1:]))
        faulthandler.dump_traceback_later(self.patience_s, exit=True)
        held, started = _highest_mb(anew=True), time.monotonic()
        try:
            outcome, fault = self._opened(path), ""
        except Exception as error:  # noqa: BLE001 - any of them is what is looked for
            outcome, fault = type(error).__name__, _signature(error)
        taken, rise = time.monotonic() - started, _highest_mb() - held
        faulthandler.cancel_dump_traceback_later()
        if not fault and rise > MOST_MB:
            fault = f"memory beyond {MOST_MB} MB: {rise:.0f} MB"
        self._count(path, outcome, fault, taken, rise)
        path.unlink()

    def _opened(self, path: Path) -> str:
        from tumorscope.errors import TumorscopeError

        scans = 0
        try:
            for scan in self._open_scans(path, allow_any=True, salt=SALT):
                self._predictor.prepare(scan, heatmap=True)
                scans += 1
        except TumorscopeError as error:
            return f"{type(error).__name__} {getattr(error, 'fault', '')}".strip()
        finally:
            if path.suffix == ".dcm":
                for series in self._open_series(path.parent, salt=SALT).series:
                    list(series.parts())
        if not scans:
            raise AssertionError("neither a scan nor a refusal")
        return "scans"

    def _count(self, path: Path, outcome: str, fault: str, taken: float, rise: float) -> None:
        tally = self.tally
        tally.inputs += 1
        tally.outcomes[outcome] += 1
        tally.formats[path.name.partition(".")[2]] += outcome == "scans"
        if fault:
            tally.faults[fault] += 1
            keep_smallest(path, self.keep, fault)
        if taken > tally.slowest_s:
            tally.slowest_s = taken
            shutil.copyfile(path, self.keep / f"slowest{path.name[1:]}")
        if rise > tally.greediest_mb:
            tally.greediest_mb = rise
            shutil.copyfile(path, self.keep / f"greediest{path.name[1:]}")
        if time.monotonic() - self._told > TELL_S:
            self._told = time.monotonic()
            tally.memory_mb.append(_held_mb())
            tally.write(self.folder.parent / "tally.json")


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "tumorscope" in frame.filename]
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "nowhere"
    return f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:80]}"


def keep_smallest(path: Path, keep: Path, fault: str) -> Path:
    """Keep an input of a fault, if it is the smallest; faults are told apart by type and place."""
    name = hashlib.sha256(fault.partition(": ")[0].encode()).hexdigest()[:8]
    target = keep / f"fault-{name}{path.name[1:]}"
    if not target.exists() or path.stat().st_size < target.stat().st_size:
        shutil.copyfile(path, target)
        (keep / f"fault-{name}.txt").write_text(f"{fault}\n")
    return target


def _held_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _highest_mb(*, anew: bool = False) -> float:
    """Return the most memory held since this was asked for anew."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def fuzz_by_hypothesis(door: Door, sound: list[bytes], *, seconds: float, seed: int) -> None:
    """Damage files by rule until the time is over."""
    import hypothesis
    import hypothesis.configuration
    from hypothesis import HealthCheck, Phase
    from hypothesis import strategies as st

    hypothesis.configuration.set_hypothesis_home_dir(door.folder.parent / "hypothesis")
    end = time.monotonic() + seconds
    numbers = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63])
    fields = st.builds(
        lambda number, width, order: (number % 256**width).to_bytes(width, order),
        numbers,
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from(["little", "big"]),
    )
    # Spread evenly, since small numbers are drawn more often; half of them where headers are.
    places = st.tuples(st.integers(0, 2**16), st.sampled_from([600, MOST_BYTES])).map(
        lambda pair: pair[0] * 40_503 % 65_537 % pair[1]
    )
    kinds = st.sampled_from(["set", "set", "set", "set", "insert", "delete", "cut", "repeat"])
    edits = st.tuples(kinds, places, st.one_of(fields, st.binary(min_size=1, max_size=8)))

    def damage(inputs: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
        content = bytearray(inputs)
        for what, place, new in changes:
            at = 1 + place % max(1, len(content) - 1)
            if what == "set":
                content[at : at + len(new)] = new
            elif what == "insert":
                content[at:at] = new
            elif what == "delete":
                del content[at : at + max(1, len(new))]
            elif what == "repeat":
                content[at:at] = content[at : at + 8 * len(new)]
            elif place % 4 == 0:
                del content[at:]
        return bytes(content)

    inputs = st.builds(damage, st.sampled_from(sound), st.lists(edits, min_size=1, max_size=8))

    def take(one: bytes) -> None:
        if time.monotonic() < end:
            door.take(one)

    rounds = 0
    while time.monotonic() < end:
        rule = hypothesis.settings(
            max_examples=1000, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        hypothesis.seed(seed * 100_000 + rounds)(rule(hypothesis.given(inputs)(take)))()
        rounds += 1


def fuzz_by_atheris(door: Door, sound: list[bytes], *, seconds: float, seed: int) -> None:
    """Change files at random, keeping what reaches new lines, until the time is over."""
    import atheris

    corpus = door.folder.parent / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        for number, content in enumerate(sound):
            (corpus / f"{number:03}").write_bytes(content)
    end = time.monotonic() + seconds

    def take(inputs: bytes) -> None:
        if time.monotonic() < end:
            door.take(inputs)

    limits = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed + 1}", f"-max_len={MOST_BYTES + 1}", "-rss_limit_mb=0"]
    # Patience is this program's own; 0 would be one second.
    limits += [f"-timeout={int(2 * door.patience_s) + 60}", f"-artifact_prefix={corpus.parent}/", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], take)
    atheris.Fuzz()


@contextmanager
def _instrumented(engine: str) -> Iterator[None]:
    """Have what is imported inside count its lines for the engine that wants to know."""
    if engine == "hypothesis":
        yield
        return
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        yield
        import nibabel  # noqa: F401
        import pydicom.pixels.processing  # noqa: F401
        import pymatreader  # noqa: F401


def work(options: argparse.Namespace) -> None:
    """Do the work of one process."""
    faulthandler.enable()
    logging.disable()
    warnings.simplefilter("ignore")
    folder = options.scratch / "input"
    folder.mkdir(exist_ok=True)
    with _instrumented(options.engine):
        door = Door(folder, options.output, patience_s=options.patience)
    known = seeds()
    sound = [one for one in known if not options.only or KINDS[one[0]][0] in options.only]
    fuzz = fuzz_by_atheris if options.engine == "atheris" else fuzz_by_hypothesis
    fuzz(door, sound, seconds=options.seconds, seed=options.seed)
    door.tally.finished = True
    door.tally.write(options.scratch / "tally.json")


def watch(options: argparse.Namespace, scratch: Path) -> Tally:
    """Start processes until the time is over, and keep the input that ended one before."""
    total, end = Tally(), time.monotonic() + options.seconds
    for number in range(RESTARTS):
        left = end - time.monotonic()
        if left < 1:
            break
        (scratch / "tally.json").unlink(missing_ok=True)
        arguments = [options.engine, "--seconds", f"{left:.0f}", "--seed", str(options.seed + number), "--scratch", str(scratch)]
        arguments += ["--patience", str(options.patience), "-o", str(options.output)]
        arguments += ["--only", *options.only] if options.only else []
        with (options.output / "log.txt").open("wb") as log:
            code = subprocess.run([sys.executable, __file__, *arguments], stdout=log, stderr=log, check=False).returncode
        total.add(Tally.read(scratch / "tally.json"))
        left_over = list((scratch / "input").iterdir())
        if code and not left_over:
            raise RuntimeError(f"a process ended with status {code} between inputs; {options.output / 'log.txt'} says why")
        for path in left_over:
            if code:
                fault = (
                    f"ended by signal {-code}"
                    if code < 0
                    else f"ended with status {code}, or by the patience of {options.patience:g} s"
                )
                target = keep_smallest(path, options.output, f"{fault} {path.suffix}")
                shutil.copyfile(options.output / "log.txt", target.with_suffix(".log"))
                total.faults[fault] += 1
            path.unlink()
    return total


def say(total: Tally, seconds: float) -> None:
    """Print what came of it."""
    print(f"{total.inputs:,} inputs in {seconds:.0f} s, {total.inputs / seconds:.0f} a second")
    for outcome, count in total.outcomes.most_common():
        print(f"  {outcome}: {count:,}")
    print("scans by format: " + ", ".join(f"{name} {count:,}" for name, count in total.formats.most_common() if count))
    print(f"slowest input {total.slowest_s:.2f} s; greediest {total.greediest_mb:.0f} MB above what was held")
    if len(total.memory_mb) > 3:
        quarter = len(total.memory_mb) // 4
        early, late = total.memory_mb[quarter], total.memory_mb[-1]
        print(f"memory held after a quarter of the longest process {early:.0f} MB, at its end {late:.0f}")
    print(f"{sum(total.faults.values()):,} faults")
    for fault, count in total.faults.most_common():
        print(f"  {count:,} x {fault}")


def main() -> None:
    """Fuzz and print; one process of it when --scratch is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], metavar="SUFFIX", help="formats, as .dcm .nii.gz")
    parser.add_argument("--patience", type=float, default=150, help="seconds that one input may take")
    parser.add_argument("-o", "--output", type=Path, default=Path("fuzz"))
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scratch is not None:
        work(options)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        total = watch(options, Path(scratch))
    say(total, time.monotonic() - started)
    sys.exit(bool(total.faults))


if __name__ == "__main__":
    main()
