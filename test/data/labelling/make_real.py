"""Hold our files against the tools' own libraries, and keep what these write as test data.

    python -m venv tools && tools/bin/pip install pycocotools label-studio-converter datumaro
    PYTHONPATH=test/data/labelling tools/bin/python test/data/labelling/make_real.py EXPORTS OUT

EXPORTS holds `out.zip`, `tasks.json` and `coco.json` of the set of `conftest.py`. CVAT reads and
writes "Segmentation mask 1.1" with datumaro's VOC format.
"""

import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from datumaro.components.dataset import Dataset
from label_studio_converter import brush
from pycocotools import mask as coco


def masks_of_zip(path, size, again):
    """Return name -> ids as datumaro reads the zip, 255 is background; write it `again`."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        dataset = Dataset.import_from(folder, "voc_segmentation")
        labels = [c.name for c in dataset.categories()[next(iter(dataset.categories()))]]
        found = {}
        for item in dataset:
            mask = np.full(size, 255, np.uint8)
            for each in item.annotations:
                name = labels[each.label]
                if name != "background":
                    mask[each.image.astype(bool)] = labels.index(name) - 1
            found[item.id] = mask
        with tempfile.TemporaryDirectory() as other:
            dataset.export(other, "voc_segmentation", save_media=False, label_map="source")
            shutil.make_archive(str(again), "zip", other)
    return found


def main():
    exports, out = map(Path, sys.argv[1:])
    expected = dict(np.load(exports / "masks.npz"))
    size = next(iter(expected.values())).shape

    found = masks_of_zip(exports / "out.zip", size, out / "datumaro_voc")
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=f"datumaro, {name}")

    tasks = json.loads((exports / "tasks.json").read_text())
    for task in tasks:
        name = Path(task["data"]["image"].split("=")[1]).stem
        (prediction,) = task.pop("predictions")
        for region in prediction["result"]:
            value = region["value"]
            label = value["brushlabels"][0]
            image = brush.decode_rle(value["rle"]).reshape(*size, 4)[..., 3]
            index = ["road", "traffic light", "car & <bus>", "sky"].index(label)
            np.testing.assert_array_equal(image == 255, expected[name] == index)
            value["rle"] = brush.mask2rle((expected[name] == index).astype(np.uint8) * 255)
        task["annotations"] = [{"result": prediction["result"], "was_cancelled": False}]
    (out / "label_studio_converter.json").write_text(json.dumps(tasks))

    value = json.loads((exports / "coco.json").read_text())
    names = {i["id"]: Path(i["file_name"]).stem for i in value["images"]}
    for each in value["annotations"]:
        region = each["segmentation"]
        packed = coco.frPyObjects(region, *region["size"])
        mask = expected[names[each["image_id"]]] == each["category_id"] - 1
        np.testing.assert_array_equal(coco.decode(packed).astype(bool), mask)
        assert int(coco.area(packed)) == each["area"]
        assert coco.toBbox(packed).tolist() == each["bbox"]
        again = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        each["segmentation"] = {"size": list(size), "counts": again["counts"].decode()}
    (out / "pycocotools.json").write_text(json.dumps(value))


if __name__ == "__main__":
    main()
