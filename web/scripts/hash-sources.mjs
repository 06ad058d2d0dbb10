// Write the hash of everything the page is built from beside the built files; tests/serving/test_page.py compares.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

const root = join(import.meta.dirname, "..");
const sources = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
  .filter((name) => !/^node_modules\/|(^|\/)\./.test(name))
  .sort();
const hash = createHash("sha256");
for (const name of sources) {
  hash.update(`${name}\0`).update(createHash("sha256").update(readFileSync(join(root, name))).digest());
}
writeFileSync(join(root, "../src/baicai/serving/page/SOURCE"), `${hash.digest("hex")}\n`);
