// Writes src/openapi.d.ts from the OpenAPI description of a running stack: the types of everything on the wire.
// Arguments: where to find the description, and where else to write.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@hey-api/openapi-ts";

const [source = "http://localhost:8080/openapi.json", target = new URL("../src/openapi.d.ts", import.meta.url)] = process.argv.slice(2);
const described = await (await fetch(source)).json();
// Every operation may fail in the same twenty ways, with the same body: a KeepsakeError has them all.
for (const operation of Object.values(described.paths).flatMap(Object.values)) {
  for (const status of Object.keys(operation.responses ?? {})) if (status >= "300") delete operation.responses[status];
}
const folder = await mkdtemp(join(tmpdir(), "keepsake-types-"));
try {
  const input = { ...described, servers: [{ url: "http://localhost:8080" }] };
  await createClient({ input, output: folder, plugins: ["@hey-api/typescript"], logs: { level: "silent" } });
  await writeFile(target, await readFile(join(folder, "types.gen.ts"), "utf8"));
} finally {
  await rm(folder, { recursive: true });
}
