/** What is exported, as what, and compared on which rows. */

import { useListModelsQuery } from "@/api";
import type { AdapterEntry, FormFacts } from "@/api";
import { Card, Disclosure, NumberField, Prose, RadioCards, Select, TextField } from "@/components/ui";
import { integer, shortName } from "@/lib/format";

import { ROW_COUNT, typeOptions } from "./exportDraft";
import type { ExportDraft } from "./exportDraft";

interface Props {
  draft: ExportDraft;
  onChange: (changes: Partial<ExportDraft>) => void;
}

/** `best`, `latest`, `step 200`. */
export function weightsLabel(which: string): string {
  return /^\d+$/.test(which) ? `step ${integer(Number(which))}` : which;
}

export function AdapterCard({ draft, onChange, adapters }: Props & { adapters: readonly AdapterEntry[] }) {
  const entry = adapters.find((each) => each.name === draft.adapter);
  const names = adapters.map((each) => ({ value: each.name, label: each.name }));
  if (!entry) names.unshift({ value: draft.adapter, label: `${draft.adapter} (not there)` });
  const usual = entry?.weights.includes("best") === true ? "best" : "latest";
  const weights = [...new Set([usual, ...(entry?.weights ?? []), ...(draft.which === "" ? [] : [draft.which])])];
  return (
    <Card title="Adapter">
      <div className="grid gap-4 sm:grid-cols-2">
        <Select
          label="Adapter"
          value={draft.adapter}
          options={names}
          onValue={(adapter) => onChange({ adapter, which: "" })}
          hint={entry ? (entry.base === null ? "base model not recorded" : `on ${shortName(entry.base)}`) : undefined}
        />
        <Select
          label="Weights"
          value={draft.which === "" ? usual : draft.which}
          options={weights.map((value) => ({ value, label: weightsLabel(value) }))}
          onValue={(which) => onChange({ which })}
        />
      </div>
    </Card>
  );
}

interface FormProps extends Props {
  forms: readonly FormFacts[];
  facts: FormFacts;
}

export function FormCard({ draft, onChange, forms, facts }: FormProps) {
  return (
    <Card title="Form" description="Choose by the program that is to read it.">
      <RadioCards
        label="Form"
        value={draft.form}
        onValue={(form) => onChange({ form })}
        className="sm:grid-cols-2"
        options={forms.map((each) => ({
          value: each.form,
          title: each.title,
          aside: each.form,
          text: (
            <>
              <Prose text={`${each.what}.`} />
              <span className="mt-1 block text-ink">For {each.loads_in}</span>
            </>
          ),
        }))}
      />
      {facts.types.length > 0 && (
        <Select
          className="mt-4 max-w-60"
          label="Type of the weights"
          value={draft.type}
          options={typeOptions(facts)}
          onValue={(type) => onChange({ type })}
          hint="Fewer bits: a smaller file, less exact."
        />
      )}
    </Card>
  );
}

export function MoreSettings({ draft, onChange, adapters }: Props & { adapters: readonly AdapterEntry[] }) {
  const { data: models } = useListModelsQuery();
  // Without a run there are no rows to compare on, so they have to be named here.
  const needed = adapters.find((each) => each.name === draft.adapter)?.run === null;
  const others = (models ?? []).filter((model) => model.installed && model.problem === "");
  return (
    <Card>
      <Disclosure
        key={String(needed)}
        open={needed}
        title="More settings"
        aside="name, another copy of the base, rows for the certificate"
      >
        <div className="grid gap-4 pt-2 sm:grid-cols-2">
          <TextField
            label="Name"
            value={draft.name}
            onValue={(name) => onChange({ name })}
            hint="Empty: adapter, form and type."
          />
          <Select
            label="Add it to"
            value={draft.into}
            options={[
              { value: "", label: "the base it was trained on" },
              ...others.map((model) => ({ value: model.ref, label: shortName(model.ref) })),
            ]}
            onValue={(into) => onChange({ into })}
            hint="Another copy of the base, such as the original of a quantised one: to add the adapter to, or to use it on."
          />
          <TextField
            label="Rows for the certificate"
            value={draft.rows}
            onValue={(rows) => onChange({ rows })}
            mono
            hint="A data file that training has not seen. Empty: the run's validation rows."
          />
          <NumberField
            label="How many rows"
            text={draft.rowCount}
            onText={(rowCount) => onChange({ rowCount })}
            rules={ROW_COUNT}
            hint="At most; more take longer and say more."
          />
        </div>
      </Disclosure>
    </Card>
  );
}
