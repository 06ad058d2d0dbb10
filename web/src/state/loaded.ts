import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { problemOf, type Problem } from "./problem";

export interface Loaded<Value> {
  value: Signal<Value | null>;
  problem: Signal<Problem | null>;
  reload: () => void;
}

/**
 * Ask the server for something, and ask again every few seconds while it is looked at (0: once).
 *
 * `load` gets what it gave before, if `key` is the same, and may ask for what is new alone.
 */
export function useLoaded<Value>(
  key: string,
  everySeconds: number,
  load: (before: Value | null) => Promise<Value>,
): Loaded<Value> {
  const value = useSignal<Value | null>(null);
  const problem = useSignal<Problem | null>(null);
  const reload = useRef(() => {});
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    let left = false;
    value.value = problem.value = null;
    const run = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        try {
          const next = await load(value.peek());
          if (left) return;
          value.value = next;
          problem.value = null;
        } catch (error) {
          if (left) return;
          problem.value = problemOf(error);
        }
      }
      const waits = problem.peek()?.kind === "key" || problem.peek()?.kind === "scope"; // For a person.
      if (everySeconds && !waits) timer = setTimeout(run, 1000 * everySeconds);
    };
    reload.current = () => void run();
    void run();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [key]);
  return { value, problem, reload: () => reload.current() };
}
