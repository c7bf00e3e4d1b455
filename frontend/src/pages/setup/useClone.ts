/** `?clone=RUN`: the form takes over that run's settings. */

import { useEffect, useEffectEvent } from "react";
import { useSearchParams } from "react-router";

import { useLazyGetRunQuery } from "@/api";
import type { SettingView } from "@/api";
import { asApiError } from "@/api";
import { useToast } from "@/app/hooks";

import { sentence } from "@/lib/format";

import { fromConfig } from "./draft";
import type { Draft } from "./draft";

export function useClone(settings: readonly SettingView[] | undefined, replace: (draft: Draft) => void): void {
  const [params, setParams] = useSearchParams();
  const [getRun] = useLazyGetRunQuery();
  const toast = useToast();
  const run = settings ? params.get("clone") : null;

  const take = useEffectEvent(async (id: string, known: readonly SettingView[]) => {
    try {
      const { config } = await getRun({ run: id }).unwrap();
      // Its adapter's name is taken, and what it continued is its own past.
      const { draft } = fromConfig({ ...config, adapter_name: null, resume: null }, known);
      replace(draft);
      toast({ tone: "info", title: `Settings of ${id} loaded`, text: "Change what you like, then start." });
    } catch (error) {
      const { message, hint } = asApiError(error);
      toast({ tone: "bad", title: sentence(message), text: hint });
    }
    setParams({}, { replace: true });
  });

  useEffect(() => {
    if (run !== null && settings) void take(run, settings);
  }, [run, settings]);
}
