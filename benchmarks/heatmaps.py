"""What heatmaps cost: beside prediction alone, beside the same maps through pytorch-grad-cam and torchcam, and on the scan.

    python benchmarks/heatmaps.py [--batch 32] [--image-size 224] [--repeats 15] [--threads N] [--maps 1000] [--init none]
                                  [--clock wall]

Needs `pip install -e '.[benchmarks]'`. From 1.5.7 on grad-cam wants opencv-python-headless, as Tumorscope does; an older one
wants opencv-python, which overwrites it, and should be installed with `--no-deps`, and then `ttach`.

Random images and, with `--init none`, random weights: the cost does not depend on them. Batch normalisation has seen a batch, so
that no activation is too small for a float. Everybody is given the same batch and returns its maps for the predicted labels; that
the packages' maps are ours is checked before anything is timed. The packages are used as their documentation says, hooks set and
removed around a batch; ours, and prediction alone, as Tumorscope does it: channels last, few images per pass. What is gained on
torchcam comes nearly all from these two, for 0.5 differentiates no further than the feature map; so it is also timed with both.
`--clock cpu` counts the processor's seconds instead of the wall's: with `--threads 1` a figure that other programs disturb less.
Repetitions take turns, in another order each time; a ratio is the median of the ratios within one repetition.
"""

import argparse
import platform
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from tumorscope.data.preprocess import Preprocessing
from tumorscope.explanation.placement import place
from tumorscope.models.device import images_per_pass
from tumorscope.models.network import NETWORKS, Classifier, build, initialise

AT_MOST, PLACING_S = 1.05, 10.0
TIMES = {"torchcam": 2.0, "pytorch-grad-cam": 2.5}
SCAN = (512, 512)
PLAIN, OURS = "prediction alone", "prediction with our maps"
Job = Callable[[], object]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def waking(name: str, init: str, images: Tensor) -> Classifier:
    """Return a network whose batch normalisation has seen the images, in evaluation mode, channels first as torch builds it."""
    torch.manual_seed(0)
    network = build(name)
    initialise(network, init)
    if init == "none":
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean over all batches, here of one
        with torch.no_grad():
            network(images[:8])
    return network.eval()


def predict(network: Classifier, images: Tensor, step: int) -> Tensor:
    """Return the predicted labels of a batch, so many images per pass."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(step)]).argmax(dim=1)


def predict_with_maps(network: Classifier, images: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return the predicted labels of a batch and their Grad-CAM, so many images per pass."""
    with torch.inference_mode():
        answers = [network.answer(part) for part in images.split(step)]
        predicted = torch.cat([answer.logits for answer in answers]).argmax(dim=1)
        return predicted, torch.cat([answer.maps for answer in answers])[torch.arange(len(images)), predicted]


def maps_of_torchcam(network: Classifier, images: Tensor) -> Tensor:
    """Return the Grad-CAM of the predicted labels as torchcam's documentation has it, raw."""
    from torchcam.methods import GradCAM

    with GradCAM(network, network.features) as extractor:
        logits = network(images)
        maps: Tensor = extractor(logits.argmax(dim=1).tolist(), logits, normalized=False)[0]
    return maps


def maps_of_grad_cam(network: Classifier, images: Tensor) -> np.ndarray:
    """Return the Grad-CAM of the predicted labels as pytorch-grad-cam's documentation has it: stretched, at the image's size."""
    from pytorch_grad_cam import GradCAM

    with GradCAM(model=network, target_layers=[network.features]) as extractor:
        maps: np.ndarray = extractor(input_tensor=images, targets=None)
    return maps


PACKAGES: dict[str, Callable[[Classifier, Tensor], object]] = {
    "torchcam": maps_of_torchcam,
    "pytorch-grad-cam": maps_of_grad_cam,
}


def check_equal(network: Classifier, images: Tensor) -> None:
    """Raise when the packages' maps are not ours."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    _, ours = predict_with_maps(network, images, len(images))
    largest = float(ours.max())
    torch.testing.assert_close(maps_of_torchcam(network, images), ours.clone(), rtol=1e-3, atol=1e-4 * largest)
    stretched = scale_cam_image(scale_cam_image(ours.numpy(), tuple(images.shape[:1:-1])))
    np.testing.assert_allclose(maps_of_grad_cam(network, images), stretched, atol=0.01)


def timed(jobs: dict[str, Job], repeats: int, clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Return the seconds of every repetition of every job, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    order, rng = list(jobs), random.Random(0)
    for repetition in range(repeats + 1):
        rng.shuffle(order)
        for name in order:
            started = clock()
            jobs[name]()
            if repetition:
                seconds[name].append(clock() - started)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median of the ratios within each repetition."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def verdict(what: str, value: float, *, limit: float, at_most: bool) -> str:
    """Return a line that says whether a target was met."""
    met = value <= limit if at_most else value >= limit
    return f"  {what:66s} {value:7.3f}  {'at most' if at_most else 'at least'} {limit:g}: {'met' if met else 'MISSED'}"


def jobs_of(name: str, network: Classifier, images: Tensor) -> dict[str, Job]:
    """Return what is timed for one network: ours, and each package as documented, with our layout, and in our passes too."""
    last = build(name).eval()
    last.load_state_dict(network.state_dict())
    last = last.to(memory_format=torch.channels_last)
    images_last = images.contiguous(memory_format=torch.channels_last)
    step = images_per_pass(images.device)
    jobs: dict[str, Job] = {
        PLAIN: lambda: predict(last, images_last, step),
        OURS: lambda: predict_with_maps(last, images_last, step),
    }
    for package, maps_of in PACKAGES.items():
        jobs[package] = partial(maps_of, network, images)
        jobs[f"{package}, channels last"] = partial(maps_of, last, images_last)
        jobs[f"{package}, channels last, {step} per pass"] = partial(_in_passes, maps_of, last, images_last.split(step))
    return jobs


def _in_passes(maps_of: Callable[[Classifier, Tensor], object], network: Classifier, parts: Sequence[Tensor]) -> list[object]:
    return [maps_of(network, part) for part in parts]


def beside_prediction(name: str, network: Classifier, images: Tensor, repeats: int, clock: Clock = time.perf_counter) -> list[str]:
    """Time one network's maps beside its prediction alone and beside the two packages."""
    seconds = timed(jobs_of(name, network, images), repeats, clock)
    lines = [f"{name}: seconds for {len(images)} images, median and smallest; and how many times ours"]
    lines += [
        f"  {job:66s} {median(spent):7.3f} {min(spent):7.3f} {ratio(spent, seconds[OURS]):7.2f}" for job, spent in seconds.items()
    ]
    lines.append(verdict(f"{OURS} / {PLAIN}", ratio(seconds[OURS], seconds[PLAIN]), limit=AT_MOST, at_most=True))
    for package, limit in TIMES.items():
        lines.append(verdict(f"{package} / {OURS}", ratio(seconds[package], seconds[OURS]), limit=limit, at_most=False))
    return lines


def seconds_to_place(count: int, *, shape: tuple[int, int] = SCAN, cells: tuple[int, int] = (7, 7)) -> float:
    """Return how long it takes to place so many maps onto scans of a size, one after the other."""
    heatmaps = np.random.default_rng(0).random((count, *cells), dtype=np.float32)
    preprocessing = Preprocessing()
    started = time.perf_counter()
    for heatmap in heatmaps:
        place(heatmap, stride=32.0, start=0.0, preprocessing=preprocessing, shape=shape)
    return time.perf_counter() - started


def main() -> None:
    """Run all three parts and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--init", default="none")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    what = f"{chosen.threads} thread(s), torch {torch.__version__}, {chosen.image_size} px, {chosen.clock} clock"
    print(f"{platform.machine()}, {what}", flush=True)
    seconds = seconds_to_place(chosen.maps)
    print(verdict(f"seconds to place {chosen.maps} maps onto scans of {SCAN}", seconds, limit=PLACING_S, at_most=True), flush=True)
    images = torch.randn(chosen.batch, 3, chosen.image_size, chosen.image_size, generator=torch.Generator().manual_seed(0))
    for name in NETWORKS:
        network = waking(name, chosen.init, images)
        check_equal(network, images[:4])
        print("\n".join(beside_prediction(name, network, images, chosen.repeats, CLOCKS[chosen.clock])), flush=True)


if __name__ == "__main__":
    main()
