import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { problemOf, type Problem } from "./problem";

export interface Loaded<Value> {
  value: Signal<Value | null>;
  problem: Signal<Problem | null>;
  reload: () => void;
}

/**
 * Load a value from the server and refresh it every few seconds while the page is visible (0: load once).
 *
 * `load` receives its previous value for the same `key`, so that it can fetch only what is new.
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
    let unmounted = false;
    value.value = problem.value = null;
    const run = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        try {
          const next = await load(value.peek());
          if (unmounted) return;
          value.value = next;
          problem.value = null;
        } catch (error) {
          if (unmounted) return;
          problem.value = problemOf(error);
        }
      }
      const needsKey = problem.peek()?.kind === "key" || problem.peek()?.kind === "scope"; // Retrying cannot help until the user enters a key.
      if (everySeconds && !needsKey) timer = setTimeout(run, 1000 * everySeconds);
    };
    reload.current = () => void run();
    void run();
    return () => {
      unmounted = true;
      clearTimeout(timer);
    };
  }, [key]);
  return { value, problem, reload: () => reload.current() };
}
