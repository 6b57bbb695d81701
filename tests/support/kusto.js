// Reads {"tables": "let …;", "queries": {NAME: TEXT}} from standard input and prints, for each query
// that Microsoft's own language service finds fault with, a line NAME:OFFSET: what. It needs the
// package @kusto/language-service-next, in the folder that CEFLINE_KUSTO names or above it.
const { createRequire } = require("node:module");
const path = require("node:path");
const from = createRequire(path.join(process.env.CEFLINE_KUSTO || process.cwd(), "here.js"));
from("@kusto/language-service-next/bridge.min");
from("@kusto/language-service-next/Kusto.Language.Bridge.min");
const { KustoCode, GlobalState } = globalThis.Kusto.Language;

const { tables, queries } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
let read = 0;
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(tables + text, GlobalState.Default);
  const faults = code.GetDiagnostics();
  for (let index = 0; index < faults.Count; index++) {
    const fault = faults.getItem(index);
    console.log(`${name}:${fault.Start - tables.length}: ${fault.Message}`);
  }
  read++;
}
console.log(`${read} queries read`);
