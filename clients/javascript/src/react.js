import { useCallback, useEffect, useRef, useState } from "react";

const IDLE = { status: "idle", progress: 0, result: null, error: null };

/**
 * One upload at a time, as the state of a component: a temporary image, or with `orgId` a file of that organisation's.
 * `progress` goes from 0 to 1; `upload` resolves to the result, or to null where it failed or was aborted.
 */
export function useTempImageUpload({ client, orgId }) {
  const [state, setState] = useState(IDLE);
  const running = useRef(null);

  const abort = useCallback(() => {
    running.current?.abort();
    running.current = null;
  }, []);

  const reset = useCallback(() => {
    abort();
    setState(IDLE);
  }, [abort]);

  const upload = useCallback(
    async (file) => {
      abort();
      const control = (running.current = new AbortController());
      // What belongs to an upload that another one replaced is not shown any more.
      const show = (change) => running.current === control && setState((before) => ({ ...before, ...change }));
      setState({ ...IDLE, status: "uploading" });
      try {
        const options = {
          signal: control.signal,
          onProgress: ({ loaded, total }) => show({ progress: total ? loaded / total : 0 }),
        };
        const result = orgId
          ? await client.organizations(orgId).upload(file, options)
          : await client.tempImages.upload(file, options);
        show({ status: "success", progress: 1, result });
        return running.current === control ? result : null;
      } catch (error) {
        show({ status: "error", error });
        return null;
      }
    },
    [client, orgId, abort],
  );

  useEffect(() => abort, [abort]);
  return { ...state, upload, abort: reset, reset };
}
