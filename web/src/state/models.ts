import { computed, signal } from "@preact/signals";
import { listModels } from "../api/client";
import type { LeafChoice, LeafInfo, ModelInfo } from "../api/types";
import { problemOf, type Problem } from "./problem";
import { updateSettings, settings } from "./settings";

export const models = signal<ModelInfo[]>([]);
export const modelsProblem = signal<Problem | null>(null);
export const modelsLoading = signal(true);

export const model = computed<ModelInfo | null>(
  () => models.value.find((each) => each.id === settings.value.model) ?? models.value[0] ?? null,
);
export const leaves = computed<LeafInfo[]>(() => model.value?.baicai.leaves ?? []);
export const leavesOff = computed<Set<string>>(() => new Set(settings.value.leavesOff));

/** Contrast of at least 3:1 to black and to white, each far from the ones before; the same as in evaluation. */
export const PALETTE = [
  ...["#8484ff", "#e46c00", "#00a860", "#f018b4", "#90546c", "#9000ff", "#cc0000", "#0084a8"],
  ...["#007830", "#a818c0", "#c060d8", "#608460", "#0060d8", "#ff0cff", "#c03c90", "#b48490"],
];

export const colours = computed(() => assignColours(leaves.value.map(({ name }) => name)));

/** Assign each leaf a colour by its index among the sorted names, as reports do. */
export function assignColours(names: string[]): Map<string, string> {
  return new Map(names.toSorted().map((name, index) => [name, PALETTE[index % PALETTE.length] as string]));
}

export async function loadModels(): Promise<void> {
  modelsLoading.value = true;
  try {
    models.value = await listModels();
    modelsProblem.value = null;
  } catch (error) {
    modelsProblem.value = problemOf(error);
  }
  modelsLoading.value = false;
}

export function switchLeaf(name: string): void {
  const off = new Set(leavesOff.value);
  if (!off.delete(name)) off.add(name);
  updateSettings({ leavesOff: [...off].sort() });
}

/** Return the `leaves` field of a request; undefined means that all leaves are active. */
export function leafChoice(off: Set<string>): LeafChoice | undefined {
  const names = leaves.value.map((leaf) => leaf.name).filter((name) => off.has(name));
  return names.length ? { off: names } : undefined;
}
