import { Columns2 } from "lucide-react";

import { EmptyState, PageHeader } from "@/components/ui";

export default function ComparePage() {
  return (
    <>
      <PageHeader title="Compare" />
      <EmptyState icon={Columns2} title="Under construction" />
    </>
  );
}
