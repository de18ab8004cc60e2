"""Files to findings with heatmaps: how many a second, where the time goes, beside the usual way; cold start; memory.

    python benchmarks/predict.py FOLDER [--files 1311] [--model bundled] [--usual 100] [--memory 1000,20000] [--threads 2]

FOLDER holds pictures. `streaming` is what `tumorscope predict FOLDER -o out.jsonl` does, once without and once with every map on
its scan's grid. The usual way is what most programs for this task do: PIL, torchvision's transforms, eager PyTorch, and
pytorch-grad-cam (with its package missing: the same through autograd), one file after the other, of the same weights; it is timed
on fewer files. Shares are processor time of one stage alone over that of all stages, each timed by itself in one thread, so that
nothing overlaps. The chip's limit is the multiply-adds of the convolutions over what one processor reaches on a product of large
matrices. Cold start is a process of its own, the disk's cache warm; memory the highest resident size of such a process, over as
many hard links to the same files as asked for, or copies where links are not possible.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from tumorscope.data.decode import decode_file
from tumorscope.predict import Predictor
from tumorscope.streaming import StreamChoices, answer_files

SUFFIXES = (".jpg", ".jpeg", ".png")


def rate_of_streaming(predictor: Predictor, files: Sequence[str], *, heatmaps: bool) -> float:
    """Return files a second, from the file on the disk to the line of JSON, after a short warming up."""
    choices = StreamChoices(heatmaps=heatmaps)
    for _ in answer_files(predictor, files[:8], choices):
        pass
    started = time.perf_counter()
    with tempfile.TemporaryFile("w") as out:
        for answer in answer_files(predictor, files, choices):
            out.writelines(json.dumps(finding.to_json()) + "\n" for finding in answer.findings)
    return len(files) / (time.perf_counter() - started)


def stages(predictor: Predictor, files: Sequence[str]) -> dict[str, float]:
    """Return the milliseconds of processor time that one file costs in every stage."""
    scans: list = []
    prepared: list = []
    findings: list = []
    answers: list = []

    def decode() -> None:
        scans.extend(decode_file(Path(file)) for file in files)

    def prepare() -> None:
        prepared.extend(predictor.prepare(scan, heatmap=True) for scan in scans)

    def network() -> None:
        answers.append(predictor.infer(prepared))

    def say() -> None:
        findings.extend(predictor.findings(prepared, answers[0]))

    def write() -> None:
        sum(len(json.dumps(finding.to_json())) for finding in findings)

    steps: dict[str, Callable[[], None]] = {
        "decode": decode, "preprocess": prepare, "network": network, "finding and map": say, "write": write,
    }  # fmt: skip
    return {name: 1000 * _processor_time(step) / len(files) for name, step in steps.items()}


def _processor_time(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def rate_of_the_usual_way(model: str, files: Sequence[str]) -> tuple[float, str]:
    """Return files a second of a program as usually written, and what made its maps."""
    import torch
    from PIL import Image
    from torchvision import transforms

    from tumorscope.models.bundle import load_bundle
    from tumorscope.models.shipped import shipped_bundle

    bundle = shipped_bundle() if model == "bundled" else load_bundle(Path(model))
    size = bundle.preprocessing.image_size
    ready = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize(bundle.preprocessing.mean, bundle.preprocessing.std),
        ]
    )
    network = bundle.network.eval()
    explain, name = _usual_maps(network)

    def answer(file: str) -> str:
        image = ready(Image.open(file).convert("RGB"))[None]
        with torch.no_grad():
            probabilities = network(image).softmax(dim=1)[0]
        heatmap = explain(image, int(probabilities.argmax()))
        return json.dumps({"path": file, "probabilities": probabilities.tolist(), "highest": float(heatmap.max())})

    for file in files[:3]:
        answer(file)
    started = time.perf_counter()
    for file in files:
        answer(file)
    return len(files) / (time.perf_counter() - started), name


def _usual_maps(network) -> tuple[Callable, str]:  # noqa: ANN001
    import torch
    from torch.nn import functional

    with suppress(ImportError):
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        method = GradCAM(model=network, target_layers=[network.features])
        return lambda image, label: method(input_tensor=image, targets=[ClassifierOutputTarget(label)])[0], "pytorch-grad-cam"

    def explain(image, label):  # noqa: ANN001, ANN202
        feature_map = network.features(image)
        (gradient,) = torch.autograd.grad(network.classify(feature_map)[0, label], feature_map)
        cells = (gradient.mean(dim=(2, 3), keepdim=True) * feature_map).sum(dim=1, keepdim=True).relu().detach()
        return functional.interpolate(cells, size=image.shape[2:], mode="bilinear")[0, 0].numpy()

    return explain, "autograd (pytorch-grad-cam is not installed)"


def multiply_adds(model: str) -> float:
    """Return the multiply-adds of a network's convolutions for one image."""
    import torch
    from torch import nn

    from tumorscope.models.bundle import load_bundle
    from tumorscope.models.shipped import shipped_bundle

    bundle = shipped_bundle() if model == "bundled" else load_bundle(Path(model))
    counts = []

    def count(layer: nn.Conv2d, _inputs: object, output: torch.Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())

    for layer in bundle.network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    size = bundle.preprocessing.image_size
    with torch.inference_mode():
        bundle.network(torch.zeros(1, 3, size, size))
    return float(sum(counts))


def processor_peak() -> float:
    """Return the multiply-adds a second that one processor reaches on a product of large matrices, in float32."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.randn(1536, 1536), torch.randn(1536, 1536)
    times = []
    for _ in range(8):
        started = time.process_time()
        left @ right
        times.append(time.process_time() - started)
    return 1536**3 / min(times)


def command(*arguments: str, repeats: int = 1) -> float:
    """Return the median wall time of a command in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return median(times)


def linked(files: Sequence[str], count: int, folder: Path) -> Path:
    """Fill a folder with the same files under as many names."""
    for number, file in enumerate(islice(cycle(files), count)):
        inside = folder / f"{number // 1000:03}"
        inside.mkdir(exist_ok=True)
        name = inside / f"{number:06}{Path(file).suffix}"
        try:
            name.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, name)
    return folder


USUAL_START = """
import sys, torch
from PIL import Image
from torchvision import transforms
from tumorscope.models.shipped import shipped_bundle
network = shipped_bundle().network.eval()
ready = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
image = ready(Image.open(sys.argv[1]).convert("RGB"))[None]
feature_map = network.features(image)
scores = network.classify(feature_map)
torch.autograd.grad(scores.max(), feature_map)
print(scores.softmax(dim=1))
"""


WATCHED = """
import sys
from tumorscope.apps.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) // 1024, file=open(sys.argv[-1] + ".mb", "w"))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=1311)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--usual", type=int, default=100, help="files for the usual way; 0 leaves it out")
    parser.add_argument("--memory", default="1000,20000", help="numbers of files; empty leaves it out")
    parser.add_argument("--starts", type=int, default=5, help="cold starts; 0 leaves them out")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    files = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)[: options.files]
    predictor = Predictor.load(options.model, threads=options.threads)
    print(f"{len(files)} files, {os.cpu_count()} processors, {predictor.versions['engine']}, {predictor.stamp.name}")
    ours = {maps: rate_of_streaming(predictor, files, heatmaps=maps) for maps in (False, True)}
    print(f"streaming: {ours[False]:.0f} files/s, {ours[True]:.0f} with every map on its scan's grid")
    single = Predictor.load(options.model, threads=1)
    costs = stages(single, files[:400])
    for name, cost in costs.items():
        print(f"  {name}: {cost:.2f} ms of a processor, {cost / sum(costs.values()):.0%}")
    needed, peak = multiply_adds(options.model), processor_peak()
    limit = 1000 * needed / peak
    print(f"  network: {needed / 1e6:.0f} million multiply-adds, at the chip's {peak / 1e9:.0f} a ns {limit:.2f} ms")
    if options.usual:
        usual, name = rate_of_the_usual_way(options.model, files[: options.usual])
        print(f"the usual way, {name}: {usual:.1f} files/s; streaming is {ours[True] / usual:.1f} times as fast")
    if options.starts:
        ours_s = command("-m", "tumorscope", "predict", files[0], "--model", options.model, repeats=options.starts)
        usual_s = command("-c", USUAL_START, files[0], repeats=options.starts)
        import_s = command("-c", "import tumorscope", repeats=options.starts)
        bare_s = command("-c", "pass", repeats=options.starts)
        print(f"cold start: {ours_s:.2f} s, the usual way {usual_s:.2f} s; `import tumorscope` {import_s - bare_s:.3f} s")
    for count in map(int, filter(None, options.memory.split(","))):
        _print_memory(files, count, options.model)


def _print_memory(files: Sequence[str], count: int, model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = linked(files, count, Path(name))
        arguments = ("predict", str(folder), "--model", model, "-o", str(folder / "out.jsonl"))
        watched = WATCHED.format(arguments=list(arguments))
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", watched], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken = time.perf_counter() - started
        most = (folder / "out.jsonl.mb").read_text().strip()
        print(f"{count:,} files: {most} MB at most, {count / taken:.0f} files/s with the start")


if __name__ == "__main__":
    main()
