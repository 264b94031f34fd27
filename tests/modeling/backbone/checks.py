"""What every backbone must keep, as checks that the tests of each call."""

import torch


def randomised(net):
    """The network with the same values every time, none of them zero, so nothing hides."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
            elif "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(generator=generator)
            else:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        for name, buffer in net.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("running_mean"):
                buffer.normal_(std=0.1, generator=generator)
    return net


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def check_shapes(net, height, width):
    """Maps are as large as announced, borders rounded up."""
    out = net(images(2, 3, height, width))
    shapes = net.output_shape()
    assert list(out) == list(shapes)
    for name, shape in shapes.items():
        expected = (2, shape.channels, -(-height // shape.stride), -(-width // shape.stride))
        assert out[name].shape == expected, name


def check_batch_equals_single(net, height, width):
    net.eval()
    batch = images(3, 3, height, width)
    with torch.no_grad():
        together = net(batch)
        alone = [net(batch[i : i + 1]) for i in range(3)]
    for name, map_ in together.items():
        singles = torch.cat([one[name] for one in alone])
        torch.testing.assert_close(map_, singles, rtol=1e-4, atol=1e-5)


def check_gradient_reaches_all(net, height, width):
    maps = net(images(2, 3, height, width)).values()
    # A plain sum has no gradient behind a norm.
    sum((map_ * images(*map_.shape)).sum() for map_ in maps).backward()
    missing = [
        name
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert not missing
