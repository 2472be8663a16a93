// Writes the README's examples to examples/, each under the name in its first line, so that `tsc` can check them.

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";

const [target = new URL("../examples/", import.meta.url).pathname] = process.argv.slice(2);
const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
for (const [, name, code] of readme.matchAll(/^```tsx?\n\/\/ (\S+)\n\n?(.*?)^```$/gms)) {
  await writeFile(`${target}/${name}`, code);
}
