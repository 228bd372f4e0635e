"""The look of the report page: system fonts, one column of text, light and dark, and paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  --ground: #fcfcfb; --raised: #ffffff; --ink: #1c2024; --quiet: #5d666f; --line: #dfe3e6;
  --accent: #1f5f8b; --good: #1b6e3c; --bad: #a8361f; --code: #f2f4f5; --mark: #f4f7f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --raised: #1b1f23; --ink: #e4e7ea; --quiet: #9aa4ad; --line: #2f363c;
    --accent: #7fb8de; --good: #79c795; --bad: #ec9480; --code: #20262b; --mark: #1d242a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0 auto; max-width: 66rem; padding: 3.5rem 1.5rem 3rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header { border-bottom: 1px solid var(--line); padding-bottom: 1.5rem; }
h1 { margin: 0; font-size: clamp(1.8rem, 1.3rem + 2vw, 2.5rem); font-weight: 650; line-height: 1.15;
  letter-spacing: -0.02em; text-wrap: balance; }
h2 { margin: 0 0 .6rem; font-size: 1.4rem; font-weight: 620; line-height: 1.25; letter-spacing: -0.01em;
  text-wrap: balance; }
p { margin: 0 0 .9rem; max-width: 44rem; text-wrap: pretty; }
.lede { margin-top: .9rem; font-size: 1.15rem; line-height: 1.5; color: var(--quiet); }
.lede p:last-child { margin-bottom: 0; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .18em; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
nav ol { display: flex; flex-wrap: wrap; gap: .35rem 1.4rem; margin: 1.3rem 0 0; padding: 0; list-style: none;
  font-size: .92rem; }
section { padding: 2.4rem 0 .6rem; scroll-margin-top: 1rem; }
section + section { border-top: 1px solid var(--line); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
  gap: 1.2rem; margin: 1.3rem 0; align-items: start; }
figure { margin: 0; }
.pictures img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
.pictures.single img { width: auto; max-width: min(100%, 44rem); }
.pictures .wide { grid-column: 1 / -1; }
.pictures.single .wide img { width: 100%; max-width: 100%; }
figcaption { margin-top: .5rem; font-size: .88rem; line-height: 1.45; color: var(--quiet); max-width: 44rem; }
.table { overflow-x: auto; margin: 1.3rem 0 .5rem; }
table { border-collapse: collapse; min-width: 100%; font-size: .95rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .7rem; text-align: right; vertical-align: baseline; white-space: nowrap; }
th:first-child { text-align: left; padding-left: .7rem; white-space: normal; min-width: 11rem; }
thead th { font-weight: 600; vertical-align: bottom; border-bottom: 1.5px solid var(--quiet); }
tbody th { font-weight: 450; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tr.baseline > *, tr.ceiling > * { background: var(--mark); color: var(--quiet); }
.unit { font-weight: 400; color: var(--quiet); }
.way { display: block; font-size: .76rem; font-weight: 400; color: var(--quiet); }
.tag { margin-left: .45rem; padding: .06rem .42rem; border: 1px solid var(--line); border-radius: 99px;
  font-size: .74rem; color: var(--quiet); background: var(--ground); white-space: nowrap; }
.error { font-size: .85em; color: var(--quiet); }
.better, .worse, .same { display: inline-block; width: 1em; font-size: .78em; text-align: center; }
.better { color: var(--good); } .worse { color: var(--bad); } .same, .none { color: var(--quiet); }
.note { font-size: .86rem; line-height: 1.5; color: var(--quiet); max-width: none; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .88em; }
p code, figcaption code { padding: .08em .3em; background: var(--code); border-radius: 4px;
  overflow-wrap: anywhere; }
pre { margin: 1.2rem 0; padding: .75rem 1rem .75rem 2.2rem; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--code); border-radius: 6px;
  border-left: 3px solid var(--accent); font-size: .86rem; line-height: 1.5; }
pre code { display: block; text-indent: -1.2rem; font-size: inherit; }
pre code::before { content: "$ "; color: var(--quiet); user-select: none; -webkit-user-select: none; }
footer { margin-top: 2.5rem; padding-top: 1.2rem; border-top: 1px solid var(--line); font-size: .84rem;
  line-height: 1.5; color: var(--quiet); }
footer p { margin: 0 0 .35rem; max-width: none; overflow-wrap: anywhere; }
footer p:first-child { color: var(--ink); font-weight: 600; }
@media (max-width: 36rem) { body { padding: 2rem 1rem; } th, td { padding: .45rem .6rem; } }
@media print {
  :root { --ground: #fff; --raised: #fff; --ink: #000; --quiet: #444; --line: #bbb; --accent: #000;
    --good: #1b6e3c; --bad: #a8361f; --code: #f4f4f4; --mark: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  figure, table, tr, pre { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; }
  section { padding-top: 1.2rem; }
  a { color: inherit; text-decoration: none; }
}
"""
