"""Convolutions and pooling: a kernel not turned, a window elsewhere than the forward's, every maximum of a tie."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.parts import Pad, Windows, carried, kernels, pads, windows
from torch_impl.verify.mistakes.products import through
from torch_impl.verify.mistakes.sites import MOVES, Product, Sites, aten
from torch_impl.verify.trace.tape import Node, packet_of, reshapes

Elements = tuple[torch.Tensor, torch.Tensor]  # of all windows: their first indices, and the offsets in them, by axis
Change = Callable[[torch.Tensor, torch.Tensor], Elements]
Turn = Callable[[torch.Tensor], torch.Tensor]


@mistake("kernel-flipped", "the kernel of the convolution is turned the wrong way round",
         "A forward Σ_r x[i + r] w[r] has dx[j] = Σ_r dout[j − r] w[r], the correlation of the padded dout with the "
         "reversed w, and dw[r] = Σ_i dout[i] x[i + r], which is not reversed.")  # fmt: skip
def kernel_flipped(sites: Sites) -> Hypotheses:
    """Gone back through with axes reversed, or turned by a quarter; or a gradient that comes out so."""
    for leaf, products in kernels(sites):
        for words, turn, name in _turns(sites.values[leaf]):
            rules = {p.node: through(p, _turned(sites, leaf, p, turn)) for p in products}
            yield Hypothesis(rules, f"the gradient goes back through the kernel {words}", rank=LATE, mistake=name)
            if not name:
                rule = lambda here, g, turn=turn: turn(g).contiguous()  # noqa: E731
                yield Hypothesis({leaf: rule}, f"h is a {words}", sites.titles[leaf])


def _turned(sites: Sites, leaf: Node, p: Product, turn: Turn) -> Callable[..., torch.Tensor]:
    """What a product is given of a kernel that has been turned."""
    path = sites.path(p.weight, MOVES)[1]
    return lambda here, _: here.along(path, turn(here[leaf]).contiguous())


def _turns(w: torch.Tensor) -> Iterator[tuple[str, Turn, str]]:
    """Ways to turn a kernel, in words; and another mistake's name where it is one."""
    axes = [(a,) for a in range(w.ndim)] + [(a, a + 1) for a in range(w.ndim - 1)]
    for dims in (d for d in axes if all(w.shape[a] > 1 for a in d)):
        yield f"reversed along axis {', '.join(map(str, dims))}", lambda t, d=dims: t.flip(d), ""
        if len({w.shape[a] for a in dims}) < len(dims):
            yield f"turned by 90° in its axes {dims}", lambda t, d=dims: torch.rot90(t, 1, d), ""
            yield f"turned by −90° in its axes {dims}", lambda t, d=dims: torch.rot90(t, -1, d), ""
            yield f"with its axes {dims} exchanged", lambda t, d=dims: t.transpose(*d), "transposed"


@mistake("window-shifted", "the backward pass takes other windows than the forward: another stride, padding or axis",
         "Take the very slice of the forward, as x[i * stride : i * stride + k], and take off the padding that was "
         "put on.")  # fmt: skip
def window_shifted(sites: Sites) -> Hypotheses:
    """Put elsewhere, read elsewhere, or both; and the padding taken off in another place."""
    for site in windows(sites):
        shape = sites.values[site.source].shape
        elements = _elements(partial(carried, sites.tape), site, shape)
        for words, move in _moves(*elements):
            try:
                new = _flat(*move(*elements), shape)
            except IndexError:  # beyond the array: NumPy would raise, or add nothing
                continue
            if not torch.equal(new, _flat(*elements, shape)):
                put = {v: _put(site, k, move) for k, v in enumerate(site.nodes)}
                read = {u: rule for k in range(len(site.nodes)) for u, rule in _read(sites, site, k, move)}
                for does, rules in (("written", put), ("read", read), ("read and written", read | put)):
                    if rules:
                        yield Hypothesis(rules, f"the window that is {does} {words}", rank=LATE)
    for pad in pads(sites):
        for shift in range(-4, 5):
            words = f"the padding is taken off {abs(shift)} too {'late' if shift > 0 else 'early'}"
            if shift:
                yield Hypothesis({pad.node: lambda here, g, p=pad, s=shift: {p.source: _crop(here, g, p, s)}}, words)
        yield Hypothesis({pad.node: lambda here, g, p=pad: {p.source: g}}, "the padding is not taken off")


def _elements(along: Callable[..., torch.Tensor], site: Windows, shape: torch.Size) -> Elements:
    """(windows, axes, …) each: where a window begins along each axis of its array, and how far its elements are."""
    numbered = torch.arange(shape.numel()).reshape(shape)
    places = first = torch.stack([torch.stack(torch.unravel_index(along(p, numbered), shape)) for p in site.paths])
    for dim in range(places.ndim - site.inner, places.ndim):
        first = first.narrow(dim, 0, 1)
    return first.expand(places.shape), places - first


def _moves(first: torch.Tensor, offset: torch.Tensor) -> Iterator[tuple[str, Callable[..., Elements]]]:
    """What may become of windows along one axis or two, with the words for it."""
    axes = [a for a in range(first.shape[1]) if int(offset[:, a].max()) > 0 and first[:, a].unique().numel() > 1]
    for chosen in [axes] * (len(axes) > 1) + [[a] for a in axes]:
        where = f"along axis {', '.join(map(str, chosen))}"
        for words, change in _CHANGES.items():
            yield f"{words} {where}", lambda f, o, c=change, axes=tuple(chosen): _changed(f, o, c, axes)
    for a, b in [axes] if len(axes) == 2 else []:
        others = [{a: b, b: a}.get(axis, axis) for axis in range(first.shape[1])]
        yield "begins at (j, i), should at (i, j)", lambda f, o, s=others: (f[:, s], o)
        yield "has its rows and columns exchanged", lambda f, o, s=others: (f, o[:, s])
        for here, there in ((a, b), (b, a)):
            same = [there if axis == here else axis for axis in range(first.shape[1])]
            yield f"begins along axis {here} where it begins along axis {there}", lambda f, o, s=same: (f[:, s], o)


_CHANGES: dict[str, Change] = {
    "begins at i, should at i · stride": lambda first, offset: (first // _step(first), offset),
    "begins at i · its length, should at i · stride": lambda first, offset: (
        first // _step(first) * (offset.max() + 1), offset,
    ),
    "begins one too far": lambda first, offset: (first + 1, offset),
    "begins one too early": lambda first, offset: (first - 1, offset),
    "goes in steps of one, should in steps of the stride": lambda first, offset: (first, offset // _step(offset)),
}  # fmt: skip


def _step(of: torch.Tensor) -> int:
    return int(of.unique().diff().min()) if of.unique().numel() > 1 else 1


def _changed(
    first: torch.Tensor, offset: torch.Tensor, change: Callable[..., Elements], axes: tuple[int, ...]
) -> Elements:
    first, offset = first.clone(), offset.clone()
    for a in axes:
        first[:, a], offset[:, a] = change(first[:, a], offset[:, a])
    return first, offset


def _flat(first: torch.Tensor, offset: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The flat indices of all windows' elements.

    Raises
        IndexError: if one is outside the array
    """
    flat = torch.zeros_like(first[:, 0])
    for a, n in enumerate(shape):
        place = first[:, a] + offset[:, a]
        if int(place.min()) < 0 or int(place.max()) >= n:
            raise IndexError(f"index outside axis {a}, which has {n} elements")
        flat = flat * n + place
    return flat


def _moved(here: Here, site: Windows, k: int, move: Callable[..., Elements]) -> torch.Tensor:
    """The flat indices of window k after the move."""
    if site.nodes[0] not in here.kept:
        shape = here[site.source].shape
        here.kept[site.nodes[0]] = _flat(*move(*_elements(here.along, site, shape)), shape)
    return here.kept[site.nodes[0]][k]


def _put(site: Windows, k: int, move: Callable[..., Elements]) -> Rule:
    def rule(here: Here, g: torch.Tensor) -> dict[Node, torch.Tensor]:
        whole = torch.zeros_like(here[site.source])
        whole.view(-1).index_add_(0, _moved(here, site, k, move).reshape(-1), g.reshape(-1))
        return {site.source: whole}

    return rule


def _read(sites: Sites, site: Windows, k: int, move: Callable[..., Elements]) -> Iterator[tuple[Node, Rule]]:
    """The rules of what uses window k: other arguments get their gradient from another window."""
    todo: list[tuple[Node, list[Node]]] = [(site.nodes[k], [])]
    while todo:
        argument, path = todo.pop()
        for user in sites.tape.users(argument):
            if reshapes(user):
                todo.append((user, [*path, user]))
            elif len(user.all_input_nodes) > 1 or packet_of(user) is aten.amax:

                def rule(
                    here: Here, g: torch.Tensor, user: Node = user, argument: Node = argument, path: list[Node] = path
                ) -> dict[Node, torch.Tensor]:
                    window = here[site.source].reshape(-1)[_moved(here, site, k, move)]
                    values = {a: here[a].detach() for a in user.all_input_nodes if a in sites.variable}
                    values[argument] = here.along(path, window)
                    values = {a: value.requires_grad_() for a, value in values.items()}
                    sent = torch.autograd.grad(here.run(user, values), [*values.values()], g, allow_unused=True)
                    return {a: s for a, s in zip(values, sent, strict=True) if s is not None}

                yield user, rule


def _crop(here: Here, g: torch.Tensor, pad: Pad, shift: int) -> torch.Tensor:
    """The part of g that has the shape of what was padded, ``shift`` after where that was put."""
    shape = here[pad.source].shape
    begins = here.along(pad.path, torch.arange(1, shape.numel() + 1).reshape(shape)).nonzero().min(dim=0).values
    for axis, (n, begin) in enumerate(zip(shape, begins.tolist(), strict=True)):
        if g.shape[axis] > n:
            g = g.narrow(axis, begin + shift, n)
    return g


@mistake("tie-shared", "where several elements share the maximum, the whole gradient goes to each of them",
         "Give it to one of them (np.argmax), or divide it by their number: mask / mask.sum() for the mask of the "
         "maxima.")  # fmt: skip
def tie_shared(sites: Sites) -> Hypotheses:
    """At one maximum."""
    for node in (n for n in sites.calls if packet_of(n) is aten.amax):
        words = "dx = dy at every maximum of a tie; should be dy in all, dy what arrives at the maximum y"
        x = node.all_input_nodes[0]
        yield Hypothesis({node: lambda here, g, x=x, y=node: {x: at_every(here[x], y, g)}}, words)


def at_every(x: torch.Tensor, node: Node, g: torch.Tensor) -> torch.Tensor:
    """The gradient that arrives at the maximum of x, at every element that is it."""
    most = x.amax(dim=axes_of(node, x), keepdim=True)
    return (x == most) * g.reshape(most.shape)


def axes_of(node: Node, x: torch.Tensor) -> tuple[int, ...]:
    """The axes that a maximum is taken over."""
    return tuple(a % x.ndim for a in node.args[1]) if len(node.args) > 1 and node.args[1] else tuple(range(x.ndim))
