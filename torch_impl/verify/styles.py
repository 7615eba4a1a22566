"""What a report looks like as HTML: in light and in dark, on a page of its own and inside a notebook."""

from __future__ import annotations

import re

NAME = "twingrad"  # the class of the element that all the styles are for

# The rule without a selector is that of the element itself.
_WIDE = """
{
  --text: light-dark(#1d2026, #e3e5ea); --dim: light-dark(#636a76, #9aa1ad); --line: light-dark(#d9dce2, #363b45);
  --back: light-dark(#ffffff, #16181d); --soft: light-dark(#f5f6f8, #1e2128); --blue: light-dark(#2557a7, #8fb8ff);
  --red: light-dark(#b3261e, #ff8f85); --red-back: light-dark(#fdecea, #45201f); --amber: light-dark(#7d5700, #e2b85c);
  --green: light-dark(#1a6e33, #7fd491); --green-back: light-dark(#e6f5e9, #183322);
  --heat-0: light-dark(#eceef1, #2a2e37); --heat-1: light-dark(#fbd9c6, #4d2a20);
  --heat-2: light-dark(#f6b08d, #7d3d28); --heat-3: light-dark(#e97b52, #b35534);
  --heat-4: light-dark(#c8452b, #e97f52); --heat-5: light-dark(#8a1a17, #ffc4a3);
  --heat-6: light-dark(#6b3fa0, #c3a1ff);
  color-scheme: light dark; color: var(--text); background: var(--back); container-type: inline-size;
  box-sizing: border-box; max-width: 64rem; margin: 0 auto; padding: 1rem; text-align: left; overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; font-weight: 600; color: inherit; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; font-weight: 600; color: inherit; }
h3 { font-size: 1rem; margin: 1.25rem 0 .35rem; font-weight: 600; color: inherit; }
p { margin: .2rem 0; }
code, pre { font: .875rem/1.55 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; tab-size: 4; }
code, pre { color: inherit; background: none; padding: 0; border: 0; }
.summary { padding: .6rem .9rem; border-left: 4px solid; background: var(--soft); font-weight: 600; }
.right { color: var(--green); }
.wrong { color: var(--red); }
.other, .unmatched { color: var(--amber); }
.label, .dim, .affected { color: var(--dim); }

pre { margin: .5rem 0; padding: .5rem 0; border: 1px solid var(--line); border-radius: 6px; }
pre span { display: block; padding: 0 .75rem; white-space: pre-wrap; min-height: 1.55em; }
.add { background: var(--green-back); color: var(--green); }
.del { background: var(--red-back); color: var(--red); }
.hunk { color: var(--blue); }

table { width: 100%; margin: 0; border: 0; border-collapse: collapse; font-size: .925rem; table-layout: auto; }
tr, tr:nth-child(n), tr:hover { background: none; }
th, td { padding: .3rem .75rem .3rem 0; border: 0; border-bottom: 1px solid var(--line); text-align: left; }
th, td { vertical-align: top; white-space: normal; max-width: none; }
th { font-weight: 600; }
td.wrong { font-weight: 600; }
.number { text-align: right; overflow-wrap: normal; font-variant-numeric: tabular-nums; }

.code { border: 1px solid var(--line); border-radius: 6px; border-collapse: separate; border-spacing: 0; }
.code { padding: .35rem 0; }
.code td { border: 0; padding: 0 .75rem; }
.code td:nth-child(1) { width: 1%; text-align: right; color: var(--dim); white-space: nowrap; user-select: none; }
.code td:nth-child(2) { padding-left: 0; white-space: pre-wrap; }
.code td:nth-child(3) { width: 34%; }
.code .first:nth-child(n) { background: var(--red-back); }
.code .first td { font-weight: 600; }
.code .first td:nth-child(1) { color: inherit; box-shadow: inset 4px 0 var(--red); }

.heats { display: flex; flex-wrap: wrap; gap: 1.25rem 2rem; align-items: flex-start; }
figure { margin: 0; max-width: 20rem; }
figcaption { margin: 0 0 .35rem; font-size: .925rem; }
svg { display: block; max-width: 100%; height: auto; }
.scale { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .75rem 0; padding: 0; font-size: .875rem; }
.scale li { display: flex; align-items: center; gap: .4rem; margin: 0; list-style: none; }

dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
dt { font-weight: 600; margin: 0; padding: 0; }
dd { margin: 0; padding: 0; }
"""
_HEAT = "\n".join(f".heat-{i} {{ fill: var(--heat-{i}); }}" for i in range(7))

# The verdicts stand under their lines.
_NARROW = """
.code tr { display: grid; grid-template-columns: 2.5rem 1fr; }
.code td:nth-child(1) { width: auto; padding: 0 .6rem 0 0; }
.code td:nth-child(3) { width: auto; grid-column: 2; padding-left: 1rem; }
.code td:empty { display: none; }
th, td { padding-right: .5rem; }
dl { grid-template-columns: 1fr; gap: 0; }
dd { margin: 0 0 .4rem 1rem; }
"""

# Notebooks have a switch of their own between light and dark.
_NOTEBOOKS = {"light": ('[data-jp-theme-light="true"]', ".vscode-light", 'html[theme="light"]'),
              "dark": ('[data-jp-theme-light="false"]', ".vscode-dark", 'html[theme="dark"]')}  # fmt: skip


def _scoped(rules: str) -> str:
    """The rules for the element and what is in it alone; its class twice, so that a notebook's for tables give way."""
    own = f".{NAME}.{NAME}"
    found = re.findall(r"([^{}]*)\{([^{}]*)\}", rules)
    parts = [(", ".join(f"{own} {name.strip()}".strip() for name in names.split(",")), said) for names, said in found]
    return "\n".join(f"{names} {{{said}}}" for names, said in parts)


_SCHEMES = (
    f"{', '.join(f'{of} .{NAME}.{NAME}' for of in outside)} {{ color-scheme: {scheme}; }}"
    for scheme, outside in _NOTEBOOKS.items()
)
STYLES = "\n".join([_scoped(_WIDE + _HEAT), f"@container (max-width: 40rem) {{\n{_scoped(_NARROW)}\n}}", *_SCHEMES])
