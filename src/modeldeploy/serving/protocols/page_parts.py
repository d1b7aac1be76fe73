"""The try-it page's look, text and behaviour."""

from __future__ import annotations

STYLE = """
:root{--ink:#1b2330;--dim:#5a6577;--paper:#f6f7f9;--card:#fff;--line:#d9dee6;--accent:#0b63ce;--on-accent:#fff;
--good:#1a7f4b;--bad:#b3261e;--code:#f0f3f7;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#9aa6b8;--paper:#11151b;--card:#191f28;--line:#2e3744;
--accent:#6cb2ff;--on-accent:#0b1522;--good:#5fd39a;--bad:#ff8f86;--code:#10151c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:74rem;margin:0 auto;padding:0 1.25rem}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.4rem 1rem;
padding-top:2rem;padding-bottom:1.25rem}
h1{font-size:1.7rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:0 0 .7rem}
.version{font:.9rem var(--mono);color:var(--dim)}
.state{margin-left:auto;font-size:.92rem;color:var(--dim)}
.state::before{content:"";display:inline-block;width:.62rem;height:.62rem;border-radius:50%;margin-right:.45rem;
background:var(--dim)}
.state.good::before{background:var(--good)}.state.bad::before{background:var(--bad)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:1.1rem 1.25rem;margin-bottom:1.1rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:1.1rem}
.pair>section{min-width:0;display:flex;flex-direction:column}
@media(max-width:54rem){.pair{grid-template-columns:1fr}}
table{border-collapse:collapse;width:100%;font-size:.95rem}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;vertical-align:top;font-weight:400;overflow-wrap:anywhere}
thead th{color:var(--dim);font-size:.85rem;border-bottom:1px solid var(--line)}
td:last-child{color:var(--dim)}
code,pre,textarea{font:.87rem/1.5 var(--mono)}
textarea,pre{width:100%;min-height:17rem;max-height:32rem;margin:0;padding:.8rem;background:var(--code);color:inherit;
border:1px solid var(--line);border-radius:7px;flex:1}
textarea{resize:vertical}
pre{overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
pre.short{min-height:0;flex:none;font-size:.82rem}
.bar{display:flex;flex-wrap:wrap;align-items:center;gap:.6rem;margin:.8rem 0 0}
button{font:inherit;border-radius:7px;padding:.42rem 1rem;border:1px solid var(--line);background:transparent;
color:inherit;cursor:pointer}
button.main{background:var(--accent);border-color:var(--accent);color:var(--on-accent);font-weight:600}
button:disabled{opacity:.55;cursor:progress}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.hint,#told{color:var(--dim);font-size:.9rem}
#told.good{color:var(--good)}#told.bad{color:var(--bad)}
a{color:var(--accent)}
ul{margin:0;padding-left:1.1rem}
footer{padding-bottom:2.5rem;color:var(--dim);font-size:.88rem}
"""

BODY = """<header>
<h1>{title}</h1>{version}
<p class="state" id="state" role="status" style="margin-bottom:0;margin-top:0">asking whether it is ready</p>
</header>
<main>
<div class="pair">
<section aria-labelledby="ask">
<h2 id="ask"><label for="request">Request to <code>POST /predict</code></label></h2>
<textarea id="request" spellcheck="false" autocomplete="off" autocapitalize="off"
aria-describedby="keys"></textarea>
<div class="bar"><button class="main" id="send" type="button">Send</button>
<button id="shape" type="button">One sample instead of a batch</button>
<span class="hint" id="keys">Ctrl or ⌘ + Enter sends</span></div>
</section>
<section aria-labelledby="answered">
<h2 id="answered">Answer</h2>
<pre id="answer" tabindex="0" aria-labelledby="answered">Nothing yet.</pre>
<div class="bar"><span id="told" role="status"></span></div>
</section>
</div>
<section aria-labelledby="signature">
<h2 id="signature">Signature</h2>
<table><thead><tr><th scope="col">input</th><th scope="col">values</th><th scope="col">range</th></tr></thead>
<tbody>{inputs}</tbody>
<thead><tr><th scope="col">output</th><th scope="col">values</th><th></th></tr></thead>
<tbody>{outputs}</tbody></table>
</section>
<section aria-labelledby="shell">
<h2 id="shell">From a shell</h2>
<pre class="short" id="curl" tabindex="0" aria-labelledby="shell"></pre>
<div class="bar"><button id="copy" type="button">Copy</button>
<span class="hint" id="copied" role="status"></span></div>
</section>
<section aria-labelledby="more">
<h2 id="more">Also here</h2>
<ul>
<li><a href="/openapi.json">/openapi.json</a>: every path, for machines</li>
<li><a href="{v2}">{v2}</a>: the Open Inference Protocol V2, with <code>/infer</code> for the clients of
Triton and KServe</li>
<li><code>POST /invocations</code> and <a href="/ping">/ping</a>: SageMaker and MLflow</li>
<li><a href="/readyz">/readyz</a>, <a href="/livez">/livez</a>, <a href="/metrics">/metrics</a>: for
who watches</li>
</ul>
</section>
</main>
<footer>Input is not cast or guessed: what is wrong is told with the input's name.</footer>"""

SCRIPT = """
"use strict";
const at = (id) => document.getElementById(id);
const service = JSON.parse(at("service").textContent);
let single = false;

function shown(value, indent = "") {
  if (Array.isArray(value)) {
    if (!value.some((entry) => Array.isArray(entry) || (entry && typeof entry === "object"))) {
      return "[" + value.map((entry) => JSON.stringify(entry)).join(", ") + "]";
    }
    const inner = indent + "  ";
    return "[\\n" + value.map((entry) => inner + shown(entry, inner)).join(",\\n") + "\\n" + indent + "]";
  }
  if (value && typeof value === "object") {
    const inner = indent + "  ";
    const field = ([name, entry]) => inner + JSON.stringify(name) + ": " + shown(entry, inner);
    return "{\\n" + Object.entries(value).map(field).join(",\\n") + "\\n" + indent + "}";
  }
  return JSON.stringify(value);
}

function exampleRequest() {
  if (!service.example) return "";
  const request = {};
  for (const input of service.inputs) {
    const value = service.example[input.name];
    request[input.name] = single && input.batched ? value[0] : value;
  }
  return shown(request);
}

function fill() {
  at("request").value = exampleRequest();
  if (!service.example) at("request").placeholder = "The inputs are too large to fill in here.";
  at("shape").textContent = single ? "A batch instead of one sample" : "One sample instead of a batch";
  tellCurl();
}

function compact() {
  try { return JSON.stringify(JSON.parse(at("request").value)); } catch { return at("request").value; }
}

function tellCurl() {
  const quoted = "'" + compact().replaceAll("'", "'\\\\''") + "'";
  at("curl").textContent = "curl " + location.origin + "/predict -d " + quoted;
}

async function send() {
  const told = at("told");
  at("send").disabled = true;
  told.className = "";
  told.textContent = "waiting";
  const began = performance.now();
  try {
    const answer = await fetch("/predict", {
      method: "POST", headers: { "content-type": "application/json" }, body: at("request").value,
    });
    const text = await answer.text();
    const took = (performance.now() - began).toFixed(1);
    told.className = answer.ok ? "good" : "bad";
    told.textContent = answer.status + (answer.ok ? " OK" : "") + ", " + took + " ms";
    try { at("answer").textContent = shown(JSON.parse(text)); } catch { at("answer").textContent = text; }
  } catch (error) {
    told.className = "bad";
    told.textContent = "no answer: " + error.message;
  }
  at("send").disabled = false;
}

async function askState() {
  const state = at("state");
  try {
    const ready = (await fetch("/readyz")).ok;
    state.className = ready ? "state good" : "state bad";
    state.textContent = ready ? "ready" : "not ready";
  } catch {
    state.className = "state bad";
    state.textContent = "does not answer";
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    at("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(at("curl"));
    at("copied").textContent = "selected: press Ctrl or \\u2318 + C";
  }
}

if (!service.inputs.some((input) => input.batched)) at("shape").hidden = true;
at("send").addEventListener("click", send);
at("copy").addEventListener("click", copy);
at("shape").addEventListener("click", () => { single = !single; fill(); });
at("request").addEventListener("input", tellCurl);
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") send();
});
fill();
askState();
"""
