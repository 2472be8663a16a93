// Writes the examples of the README and of docs/frontends.md to examples/, each under the name in its first line, so that
// `tsc` can check them. An argument says where else to write, and then the README's alone.

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";

const [elsewhere] = process.argv.slice(2);
const target = elsewhere ?? new URL("../examples", import.meta.url).pathname;
await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
for (const page of elsewhere ? ["../README.md"] : ["../README.md", "../../../docs/frontends.md"]) {
  const text = await readFile(new URL(page, import.meta.url), "utf8");
  for (const [, name, code] of text.matchAll(/^```tsx?\n\/\/ (\S+)\n\n?(.*?)^```$/gms)) {
    await writeFile(`${target}/${name}`, code);
  }
}
