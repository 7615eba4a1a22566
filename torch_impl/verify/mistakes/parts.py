"""Parts of arrays: the windows of a convolution or a pooling, the kernels that meet them, and the padding around."""

import itertools
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import torch

from torch_impl.verify.mistakes.sites import MOVES, PUTS, TAKES, WEIGHS, Product, Sites, aten
from torch_impl.verify.trace.tape import Node, Tape, line, packet_of

Windows = namedtuple("Windows", "source nodes paths inner")  # parts of one array; inner: how many last axes a part has
Kernel = namedtuple("Kernel", "leaf products")  # a parameter, and its products with windows
Pad = namedtuple("Pad", "node source path")  # an array put into a larger one


def windows(sites: Sites) -> list[Windows]:
    """Parts of one array that one line takes, in a loop or all windows at once; each has the same shape."""
    groups: dict[Any, list[tuple[Node, list[Node]]]] = {}
    for v in (v for v in sites.calls if packet_of(v) in TAKES):
        if any(packet_of(user) not in TAKES for user in sites.tape.users(v)):
            source, path = sites.path(v, TAKES)
            groups.setdefault((source, line(v), sites.values[v].shape), []).append((v, path))
    found = []
    for (source, *_), parts in groups.items():
        views = sum(packet_of(node) is aten.unfold for node in parts[0][1])
        if source in sites.variable and (len(parts) > 1 or views):
            nodes, paths = zip(*parts, strict=True)
            found.append(Windows(source, nodes, paths, views or sites.values[nodes[0]].ndim))
    return found


def kernels(sites: Sites) -> list[Kernel]:
    """The arrays that are multiplied with windows, or that have more axes than a matrix."""
    parts = {v for site in windows(sites) for v in site.nodes}
    products: dict[Node, list[Product]] = {}
    for node in (n for n in sites.calls if len(n.all_input_nodes) == 2 and packet_of(n) in WEIGHS):
        for weight, other in itertools.permutations(node.all_input_nodes):
            leaf = sites.path(weight, MOVES - {aten.slice, aten.unfold})[0]
            second = packet_of(node) is not aten.convolution or weight is node.args[1]
            if leaf in sites.titles and second and other in sites.variable and leaf is not other:
                products.setdefault(leaf, []).append(Product(node, weight, other, ""))
    found = []
    for leaf, mine in products.items():
        met = any(packet_of(p.node) is aten.convolution or parts & {*sites.path(p.other, MOVES)[1]} for p in mine)
        if met or sites.values[leaf].ndim > 2:
            found.append(Kernel(leaf, mine))
    return found


def pads(sites: Sites) -> list[Pad]:
    """Where an array is put into a larger one of as many axes."""
    found = []
    for node in (n for n in sites.calls if packet_of(n) in PUTS):
        source, path = sites.path(node, (*PUTS, aten.clone, aten.expand))
        inner = any(packet_of(user) in PUTS and user.args[1] is node for user in node.users)
        larger = sites.values[source].numel() < sites.values[node].numel()
        if not inner and larger and source in sites.variable and sites.values[source].ndim == sites.values[node].ndim:
            found.append(Pad(node, source, path))
    return found


def carried(tape: Tape, path: Sequence[Node], value: torch.Tensor) -> torch.Tensor:
    """What the nodes of a path make of a value, one after another; what it is put into is zero elsewhere."""
    for node in path:
        target: Any = node.target
        if packet_of(node) in PUTS[1:]:
            around = torch.zeros_like(tape.values[node.args[0]], dtype=value.dtype)
            value = target(around, value, *node.args[2:])
        else:
            value = target(value, *node.args[1:], **node.kwargs)
    return value
