import { Search, X } from "lucide-react";

import { IconButton } from "@/components/ui";

/** A search field without a visible label. */
export function SearchBox({
  label,
  value,
  onValue,
}: {
  label: string;
  value: string;
  onValue: (value: string) => void;
}) {
  return (
    <div className="relative min-w-40 flex-1 sm:max-w-64">
      <Search className="pointer-events-none absolute top-2 left-2.5 size-4 text-muted" aria-hidden />
      <input
        type="text"
        role="searchbox"
        aria-label={label}
        placeholder={label}
        spellCheck={false}
        autoComplete="off"
        value={value}
        onChange={(event) => onValue(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") onValue("");
        }}
        className="h-8 w-full rounded-md border border-edge bg-surface pr-8 pl-8 text-[0.8125rem] text-ink"
      />
      {value !== "" && (
        <IconButton
          icon={X}
          label="Clear the search"
          size="sm"
          className="absolute top-0 right-0"
          onClick={() => onValue("")}
        />
      )}
    </div>
  );
}
