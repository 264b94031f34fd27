"""One small folder in the layout of each tool; each function writes it and returns its string."""

import base64
import io
import json
import shutil
import zlib

import numpy as np
from PIL import Image

from tests.data import spec_files as make


def png(value=255):
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 3), value, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def voc(root):
    make.voc(root, train={"a": ["cat", "owl"]})
    return f"voc:{root}@train"


def voc_unlisted(root):
    make.voc(root, train={"a": ["cat", "owl"]})
    shutil.rmtree(root / "ImageSets")
    return f"voc:{root}"


def yolo(root):
    lines = "0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.5 0.1 0.5 0.5\n"
    return f"yolo:{make.yolo(root, train_a=lines, val_a=lines)}"


def yolo_pose(root):
    file = make.yolo(root, train_a="0 0.5 0.5 0.2 0.4 0.4 0.4 2 0.5 0.5 1\n")
    file.write_text(file.read_text() + "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n")
    return f"yolo:{file}"


def darknet(root):
    make.picture(root / "data/obj_train_data/a.jpg")
    (root / "data/obj_train_data/a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (root / "data/train.txt").write_text("data/obj_train_data/a.jpg\n")
    (root / "data/obj.names").write_text("cat\nowl\n")
    (root / "data/obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = obj.names\n")
    return f"yolo:{root / 'data/obj.data'}"


def labelme(root):
    triangle = {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]], "shape_type": "polygon"}
    box = {"label": "man", "points": [[1, 1], [5, 5]], "shape_type": "rectangle", "group_id": 1}
    eye = {"label": "eye", "points": [[2, 2]], "shape_type": "point", "group_id": 1}
    mask = {"label": "cat", "points": [[3, 3], [5, 5]], "shape_type": "mask"}
    mask["mask"] = base64.b64encode(png()).decode()
    root.mkdir()
    make.labelme(root / "a.json", triangle, box, eye, mask)
    (root / "labels.txt").write_text("cat\nman\n")
    return f"labelme:{root}"


def cvat(root):
    make.picture(root / "a.jpg")
    (root / "annotations.xml").write_text(
        "<annotations><meta><task><labels><label><name>cat</name></label></labels></task></meta>"
        '<image id="0" name="a.jpg" width="20" height="10">'
        '<box label="cat" xtl="4" ytl="4" xbr="9" ybr="8" rotation="10"/>'
        '<polygon label="cat" points="1,1;9,1;9,9"/>'
        '<ellipse label="cat" cx="8" cy="5" rx="3" ry="3"/>'
        '<mask label="cat" left="2" top="3" width="3" height="2" rle="1,2,1,2"/>'
        '<skeleton label="cat"><points label="tip" outside="0" points="5,6"/>'
        '<points label="end" outside="0" points="8,9"/></skeleton>'
        "</image></annotations>"
    )
    return f"cvat:{root / 'annotations.xml'}"


def cvat_video(root):
    make.picture(root / "images/frame_000000.jpg")
    (root / "annotations.xml").write_text(
        "<annotations><meta><task><original_size><width>20</width><height>10</height>"
        '</original_size></task></meta><track id="0" label="cat">'
        '<box frame="0" outside="0" xtl="4" ytl="4" xbr="9" ybr="8"/></track></annotations>'
    )
    return f"cvat:{root / 'annotations.xml'}"


def via(root):
    make.picture(root / "a.jpg")
    shapes = [
        {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4},
        {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [1, 1, 4]},
        {"name": "circle", "cx": 5, "cy": 5, "r": 2},
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"class": "cat"}} for s in shapes]
    image = {"filename": "a.jpg", "size": 1, "regions": regions}
    return f"via:{write_json(root / 'via.json', {'a.jpg1': image})}"


def via_3(root):
    make.picture(root / "a.jpg")
    content = {
        "attribute": {"1": {"aname": "class", "options": {"0": "cat"}}},
        "file": {"1": {"fid": "1", "fname": "a.jpg"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"x": {"vid": "1", "xy": [2, 1, 1, 4, 4], "av": {"1": "0"}}},
    }
    return f"via:{write_json(root / 'via.json', content)}"


def via_csv(root):
    make.picture(root / "a.jpg")
    head = "filename,file_size,region_shape_attributes,region_attributes\n"
    shape = '"{""name"":""rect"",""x"":1,""y"":1,""width"":4,""height"":4}"'
    (root / "via.csv").write_text(head + f'a.jpg,1,{shape},"{{""class"":""cat""}}"\n')
    return f"via:{root / 'via.csv'}"


def csv(root):
    make.picture(root / "a.jpg")
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    (root / "t.csv").write_text(head + "a.jpg,20,10,cat,1,1,5,5\na.jpg,20,10,owl,2,2,7,7\n")
    return f"csv:{root / 't.csv'}"


def createml(root):
    make.picture(root / "a.jpg")
    place = {"x": 5, "y": 5, "width": 4, "height": 4}
    content = [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": place}]}]
    return f"createml:{write_json(root / 'c.json', content)}"


def datumaro(root):
    make.picture(root / "images/train/a.jpg")
    objects = [
        {"type": "bbox", "label_id": 0, "bbox": [1, 1, 4, 4], "attributes": {"rotation": 5}},
        {"type": "polygon", "label_id": 0, "points": [1, 1, 5, 1, 5, 4], "group": 1},
        {"type": "points", "label_id": 0, "points": [1, 1, 5, 4], "visibility": [2, 1]},
        {"type": "mask", "label_id": 0, "rle": {"counts": [10, 5, 185], "size": [10, 20]}},
    ]
    image = {"path": "a.jpg", "size": [10, 20]}
    labels = {"labels": [{"name": "cat", "parent": ""}]}
    points = {"items": [{"label_id": 0, "labels": ["a", "b"]}]}
    content = {
        "categories": {"label": labels, "points": points},
        "items": [{"id": "a", "image": image, "annotations": objects}],
    }
    return f"datumaro:{write_json(root / 'annotations/train.json', content)}"


def pack_bits(values, word=8):
    """A brush stroke's code of literal values, written from the description of the format."""
    bits = []

    def put(value, count):
        bits.extend((value >> (count - 1 - i)) & 1 for i in range(count))

    put(len(values), 32)
    put(word - 1, 5)
    for size in (3, 4, 8, 16):
        put(size - 1, 4)
    place = 0
    while place < len(values):
        run = 1
        while place + run < len(values) and values[place + run] == values[place] and run < 2**16:
            run += 1
        if run > 2:
            put(1, 1), put(3, 2), put(run - 1, 16), put(values[place], word)
        else:
            run = 1
            put(0, 1), put(0, 2), put(run - 1, 3), put(values[place], word)
        place += run
    bits += [0] * (-len(bits) % 8)
    return np.packbits(bits).tolist()


def label_studio(root):
    make.picture(root / "a.jpg")
    base = {"original_width": 20, "original_height": 10, "image_rotation": 0, "type": "x"}
    box = {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 5, "rectanglelabels": ["cat"]}
    outline = {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["cat"]}
    round_one = {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "ellipselabels": ["owl"]}
    pixels = np.zeros((10, 20, 4), np.uint8)
    pixels[2:5, 3:9, 3] = 255
    brush = {"format": "rle", "rle": pack_bits(pixels.ravel().tolist()), "brushlabels": ["cat"]}
    result = [{**base, "value": value} for value in (box, outline, round_one, brush)]
    task = {"id": 1, "data": {"image": "/data/upload/1/0123abcd-a.jpg"}}
    content = [{**task, "annotations": [{"result": result, "updated_at": "2024"}]}]
    return f"labelstudio:{write_json(root / 'ls.json', content)}"


def supervisely(root):
    make.picture(root / "d/img/a.jpg")
    write_json(root / "meta.json", {"classes": [{"title": "cat", "shape": "any"}]})
    data = base64.b64encode(zlib.compress(png())).decode()
    objects = [
        {"classTitle": "cat", "geometryType": kind, "points": {"exterior": p, "interior": []}}
        for kind, p in (("rectangle", [[1, 1], [5, 5]]), ("polygon", [[1, 1], [5, 1], [5, 4]]))
    ]
    bitmap = {"data": data, "origin": [2, 2]}
    objects.append({"classTitle": "cat", "geometryType": "bitmap", "bitmap": bitmap})
    size = {"height": 10, "width": 20}
    write_json(root / "d/ann/a.jpg.json", {"size": size, "objects": objects})
    return f"supervisely:{root}"


def dota(root):
    make.picture(root / "images/a.png")
    (root / "labelTxt").mkdir()
    (root / "labelTxt/a.txt").write_text("gsd:0.1\n1 1 5 1 5 4 1 4 ship 0\n2 2 6 2 6 5 2 5 car 1\n")
    return f"dota:{root}"


def visdrone(root):
    make.picture(root / "images/a.jpg")
    (root / "annotations").mkdir()
    (root / "annotations/a.txt").write_text("2,2,6,6,1,4,0,0\n1,1,3,3,0,0,0,0\n")
    return f"visdrone:{root}"


def csv_masks(root):
    make.picture(root / "a.jpg")
    (root / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.jpg,4,3 2 13 2\n")
    return f"csv:{root / 'train.csv'}"


def kitti(root):
    make.picture(root / "image_2/a.png")
    (root / "label_2").mkdir()
    (root / "label_2/a.txt").write_text("Car 0.0 0 1.5 1 1 5 5 1 1 1 1 1 1 1\n")
    return f"kitti:{root}"


def widerface(root):
    make.picture(root / "WIDER_train/images/x/a.jpg")
    text = "x/a.jpg\n2\n1 1 4 4 0 0 0 0 0 0\n2 2 4 4 0 0 0 1 0 0\n"
    (root / "wider_face_train_bbx_gt.txt").write_text(text)
    return f"widerface:{root}"


def masks(root):
    make.picture(root / "images/a.jpg")
    (root / "masks/a").mkdir(parents=True)
    pixels = np.zeros((10, 20), np.uint8)
    pixels[2:5, 3:9] = 255
    Image.fromarray(pixels).save(root / "masks/a/0_0.png")
    (root / "classes.txt").write_text("cat\n")
    return f"masks:{root}"


LAYOUTS = [
    voc, voc_unlisted, yolo, yolo_pose, darknet, labelme, cvat, cvat_video, via, via_3,
    via_csv, csv, csv_masks, createml, datumaro, label_studio, supervisely, dota, kitti, visdrone,
    widerface,
    masks,
]  # fmt: skip
