import type { ReactNode } from "react";

import type { SettingView } from "@/api";
import { PageHeader, Segmented, Skeleton } from "@/components/ui";

import { FormProvider, MODES } from "./form";
import type { Form, Page } from "./form";
import { PreviewCard, StartBar } from "./PreviewCard";
import { memoryWarning } from "./readiness";
import type { Readiness } from "./useReadiness";

interface Props {
  page: Page;
  title: string;
  description: string;
  form: Form;
  settings: ReadonlyMap<string, SettingView>;
  ready: Readiness;
  /** The cards. */
  children: ReactNode;
}

/** A page that sets up a run: cards on the left, what will happen on the right, and the button that starts it. */
export function FormPage({ page, title, description, form, settings, ready, children }: Props) {
  const common = { reasons: ready.why, fresh: ready.judged.fresh, busy: ready.busy, onStart: ready.start };
  return (
    <FormProvider value={{ ...form, page, settings, problems: ready.problems }}>
      <PageHeader
        title={title}
        description={description}
        actions={<Segmented label="How much to show" value={form.mode} options={MODES} onValue={form.setMode} />}
      />
      <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,1fr)_21rem]">
        <div className="min-w-0 space-y-5">{children}</div>
        <div className="min-w-0 lg:sticky lg:top-[4.5rem] lg:max-h-[calc(100dvh-5.5rem)] lg:overflow-y-auto">
          <PreviewCard
            {...common}
            report={ready.judged.report}
            checking={ready.data.running}
            memory={memoryWarning(ready.preset)}
            error={ready.refusal ?? ready.judged.error}
          />
        </div>
      </div>
      <StartBar {...common} />
    </FormProvider>
  );
}

/** A card that a reason for not starting can lead to. */
export function Part({ setting, children }: { setting: string; children: ReactNode }) {
  return (
    <div id={`part-${setting}`} tabIndex={-1}>
      {children}
    </div>
  );
}

/** In place of such a page until its settings are known. */
export function FormSkeleton() {
  return (
    <div className="space-y-5">
      <span role="status" className="sr-only">
        Loading the form…
      </span>
      <Skeleton className="h-9 w-48" />
      <Skeleton className="h-40" />
      <Skeleton className="h-64" />
    </div>
  );
}
