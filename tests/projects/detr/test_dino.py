"""DINO by parts, against definitions in numpy: the library transformers does not have it.

Source: Zhang 2022, arXiv:2203.03605, sections 3.3 to 3.5.
"""

import numpy as np
import torch

from d2lite.structures import ImageList

from ..rtdetr.small import image
from .small import NUM_QUERIES, build

NO_OBJECTS = [{"labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)}]


def _numpy(value):
    return value.detach().double().numpy()


def _linear(layer, x):
    return x @ _numpy(layer.weight).T + _numpy(layer.bias)


def _norm(layer, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * _numpy(layer.weight) + _numpy(layer.bias)


def _mlp(head, x):
    for layer in head.layers[:-1]:
        x = np.maximum(_linear(layer, x), 0)
    return _linear(head.layers[-1], x)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _logit(x):
    x = np.clip(x, 1e-5, 1 - 1e-5)
    return np.log(x / (1 - x))


def _model(seed=0):
    """With heads whose predictions differ from query to query."""
    model = build("dino", seed=seed).eval()
    with torch.no_grad():
        for head in model.bbox_embed:
            head.layers[-1].weight.normal_(0, 0.3)
            head.layers[-1].bias.normal_(0, 0.3)
    return model


def _images(seed=0, height=96, width=128):
    torch.manual_seed(seed)
    return ImageList(torch.randn(1, 3, height, width), [(height, width)])


def test_boxes_start_at_the_cells_of_the_best_class_and_contents_are_learned():
    """Mixed query selection: the encoder chooses boxes, and contents are those of all images."""
    model = _model()
    with torch.no_grad():
        memory = model.encode(_images())
        logits, boxes = model._first_boxes(memory)
    part = model.transformer
    cells, starts = [], []
    first = 0
    for level, (height, width) in enumerate(memory.shapes):
        for y in range(height):
            for x in range(width):
                start = np.array([(x + 0.5) / width, (y + 0.5) / height, *[0.05 * 2**level] * 2])
                if (start > 0.01).all() and (start < 0.99).all():
                    cells.append(_numpy(memory.cells[0, first + y * width + x]))
                    starts.append(start)
        first += height * width
    features = _norm(part.enc_output_norm, _linear(part.enc_output, np.stack(cells)))
    scores = _linear(model.class_embed[-1], features)
    best = np.argsort(-scores.max(axis=1))[:NUM_QUERIES]
    expected = _sigmoid(_logit(np.stack(starts)) + _mlp(model.bbox_embed[-1], features))[best]
    np.testing.assert_allclose(logits[0].numpy(), scores[best], atol=1e-4)
    np.testing.assert_allclose(boxes[0].numpy(), expected, atol=1e-4)

    seen = []
    part.decoder["layers"][0].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    with torch.no_grad():
        model.decode(_images(1))
        model.decode(_images(2))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0][0], part.tgt_embed.weight)


def test_positions_are_waves_of_the_boxes():
    """Of y, x, width and height in this order, through a perceptron."""
    model = _model()
    seen = []
    decoder = model.transformer.decoder
    decoder["layers"][0].register_forward_pre_hook(lambda layer, args: seen.append(args))
    with torch.no_grad():
        model.decode(_images())
    _, positions, boxes = seen[0][:3]
    x, y, w, h = _numpy(boxes[0]).T
    channels = 8
    waves = []
    for value in (y, x, w, h):
        for k in range(channels // 2):
            angle = 2 * np.pi * value / 10000 ** (2 * k / channels)
            waves += [np.sin(angle), np.cos(angle)]
    expected = _mlp(decoder["ref_point_head"], np.stack(waves, axis=1))
    np.testing.assert_allclose(_numpy(positions[0]), expected, atol=1e-4)


def test_boxes_of_a_layer_add_to_those_of_the_layer_before():
    """Layers see normed queries for what they predict, and others for where the next one looks."""
    model = _model().train()
    states, boxes = [], []
    for layer in model.transformer.decoder["layers"]:
        layer.register_forward_hook(lambda layer, args, out: states.append(_numpy(out[0])))
        layer.register_forward_pre_hook(lambda layer, args: boxes.append(_numpy(args[2][0])))
    found = model.decode(_images(), NO_OBJECTS).found
    assert found.endings == ["_aux_0", "", "_enc_0"]
    refined = boxes[0]
    for number, state in enumerate(states):
        normed = _norm(model.transformer.decoder["norm"], state)
        predicted = _sigmoid(_logit(refined) + _mlp(model.bbox_embed[number], normed))
        np.testing.assert_allclose(_numpy(found.boxes[number, 0]), predicted, atol=1e-4)
        refined = _sigmoid(_logit(boxes[number]) + _mlp(model.bbox_embed[number], state))
        if number + 1 < len(boxes):
            np.testing.assert_allclose(boxes[number + 1], refined, atol=1e-4)


def test_a_layer_learns_from_its_own_boxes_and_those_of_the_next_layer():
    """Look forward twice: the gradient of layer i + 1 reaches layer i, and not layer i - 1."""
    model = build("dino", "MODEL.DETR.DEC_LAYERS", 3).eval()
    with torch.no_grad():
        for head in model.bbox_embed:
            head.layers[-1].weight.normal_(0, 0.3)
    found = model.decode(_images(), NO_OBJECTS).found
    reached = []
    for number in range(3):
        heads = [head.layers[-1].bias for head in model.bbox_embed]
        total = found.boxes[number].sum()
        grads = torch.autograd.grad(total, heads, retain_graph=True, allow_unused=True)
        reached.append([grad is not None and bool(grad.any()) for grad in grads])
    assert reached == [
        [True, False, False, False],
        [True, True, False, False],
        [False, True, True, False],
    ]


def test_denoising_queries_start_as_their_classes_and_do_not_change_the_others():
    """What the other queries find is the same with and without them."""
    model = build("dino", "MODEL.DETR.DENOISING.LABEL_NOISE", 0.0)
    seen = []
    layers = model.transformer.decoder["layers"]
    layers[0].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    targets = [{"labels": torch.tensor([3, 1]), "boxes": torch.rand(2, 4) * 0.2 + 0.3}]
    with_noise = model.decode(_images(), targets)
    # 4 / 2 groups, of each object once near it and once farther away.
    expected = model.label_enc.weight[torch.tensor([3, 1]).repeat(4)]
    assert torch.equal(seen[0][0, :8], expected)
    without = model.decode(_images(), NO_OBJECTS)
    assert without.denoised.boxes.shape[2] == 0
    torch.testing.assert_close(with_noise.found.boxes, without.found.boxes)
    assert with_noise.denoised.endings == ["_dn_0", "_dn_1"]


def test_without_denoising_nothing_of_it_is_there():
    model = build("dino", "MODEL.DETR.DENOISING.QUERIES", 0)
    assert not hasattr(model, "label_enc")
    assert not any("_dn" in name for name in model([image(0, 2)]))
