import { X } from "lucide-react";
import { useCallback, useEffect, useId, useRef, useState } from "react";
import type { ReactNode } from "react";

import { cx } from "@/lib/cx";

import { Button, IconButton } from "./Button";

export interface DialogProps {
  open: boolean;
  onClose: () => void;
  title: ReactNode;
  children: ReactNode;
  /** Buttons at the end. */
  actions?: ReactNode;
  wide?: boolean | undefined;
}

/** A modal dialog: the browser's own, so focus and Escape are as everywhere. */
export function Dialog({ open, onClose, title, children, actions, wide }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (open && !dialog.open) dialog.showModal();
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onClose={onClose}
      className={cx(
        "max-h-[90dvh] w-[calc(100vw-2rem)] overflow-auto rounded-lg border border-line bg-surface p-0 text-ink shadow-xl",
        wide ? "max-w-3xl" : "max-w-lg",
      )}
    >
      {open && (
        <div className="p-5">
          <div className="mb-3 flex items-start justify-between gap-3">
            <h2 id={id} className="text-base font-semibold">
              {title}
            </h2>
            <IconButton icon={X} label="Close" size="sm" className="-mt-1 -mr-1.5" onClick={onClose} />
          </div>
          {children}
          {actions !== undefined && <div className="mt-5 flex flex-wrap justify-end gap-2">{actions}</div>}
        </div>
      )}
    </dialog>
  );
}

/** A question before something that cannot be taken back. */
interface Question {
  title: ReactNode;
  text?: ReactNode;
  confirm: string;
  cancel?: string | undefined;
  danger?: boolean | undefined;
}

/** `const [ask, dialog] = useConfirm()`: render `dialog`, then `if (await ask({…})) …`. */
export function useConfirm(): [(question: Question) => Promise<boolean>, ReactNode] {
  const [pending, setPending] = useState<{ question: Question; answer: (yes: boolean) => void } | null>(null);
  const ask = useCallback(
    (question: Question) =>
      new Promise<boolean>((resolve) => {
        setPending({
          question,
          answer: (yes) => {
            setPending(null);
            resolve(yes);
          },
        });
      }),
    [],
  );
  const { question, answer } = pending ?? {};
  const dialog = (
    <Dialog
      open={pending !== null}
      onClose={() => answer?.(false)}
      title={question?.title}
      actions={
        <>
          <Button onClick={() => answer?.(false)}>{question?.cancel ?? "Cancel"}</Button>
          <Button variant={question?.danger ? "danger" : "primary"} onClick={() => answer?.(true)}>
            {question?.confirm}
          </Button>
        </>
      }
    >
      <div className="text-muted">{question?.text}</div>
    </Dialog>
  );
  return [ask, dialog];
}
