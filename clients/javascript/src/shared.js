/**
 * Shares one run of `start(key, signal)` among all who ask for `key` while it lasts. Each may stop waiting by a signal
 * of their own; the run is aborted when nobody waits any more, a moment later: React asks, stops and asks again at once.
 */
export function shared(start) {
  const running = new Map();

  function begin(key) {
    const control = new AbortController();
    const result = start(key, control.signal).finally(() => running.get(key) === run && running.delete(key));
    const run = { control, result, waiting: 0 };
    running.set(key, run);
    return run;
  }

  return (key, { signal } = {}) => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const run = running.get(key) ?? begin(key);
    run.waiting++;
    return new Promise((resolve, reject) => {
      const leave = () => {
        run.waiting--;
        signal?.removeEventListener("abort", stop);
      };
      const stop = () => {
        leave();
        reject(signal.reason);
        setTimeout(() => {
          if (run.waiting) return;
          running.delete(key);
          run.control.abort(signal.reason);
        });
      };
      signal?.addEventListener("abort", stop, { once: true });
      run.result.then(resolve, reject).finally(leave);
    });
  };
}
