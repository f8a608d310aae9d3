/** How the fields of a form look: Mantine's inputs under the form library's names. */
import { Button, Checkbox, Collapse, Group, Input, JsonInput, NumberInput, PasswordInput, Radio, Select, Stack, TagsInput, Textarea, TextInput, UnstyledButton } from "@mantine/core";
import { IconChevronDown, IconChevronRight, IconPlus, IconTrash } from "@tabler/icons-react";
import type { ArrayFieldItemTemplateProps, ArrayFieldTemplateProps, BaseInputTemplateProps, FieldProps, FieldTemplateProps, MultiSchemaFieldTemplateProps, ObjectFieldTemplateProps, RegistryFieldsType, RegistryWidgetsType, TemplatesType, WidgetProps } from "@rjsf/utils";
import { useState } from "react";

const MASK = "**********";

function BaseInput({ id, value, schema, placeholder, disabled, readonly, required, onChange, onBlur, onFocus, options, rawErrors }: BaseInputTemplateProps) {
  const shared = {
    id,
    placeholder,
    disabled: disabled || readonly,
    required,
    error: Boolean(rawErrors?.length),
    "aria-describedby": `${id}-error ${id}-description`,
    onBlur: () => onBlur(id, value),
    onFocus: () => onFocus(id, value),
  };
  if (schema.type === "integer" || schema.type === "number") {
    return <NumberInput {...shared} value={value ?? ""} allowDecimal={schema.type === "number"} hideControls thousandSeparator={false} onChange={(next) => onChange(next === "" ? options.emptyValue : next)} />;
  }
  return <TextInput {...shared} value={value ?? ""} onChange={(e) => onChange(e.currentTarget.value === "" ? options.emptyValue : e.currentTarget.value)} />;
}

function Secret({ id, value, placeholder, disabled, required, onChange, options, rawErrors }: WidgetProps) {
  const kept = value === MASK;
  return (
    <PasswordInput
      id={id}
      value={kept ? "" : (value ?? "")}
      placeholder={kept ? "stored; type to replace it" : placeholder}
      disabled={disabled}
      required={required && !kept}
      error={Boolean(rawErrors?.length)}
      autoComplete="new-password"
      aria-describedby={`${id}-error ${id}-description`}
      onChange={(e) => onChange(e.currentTarget.value === "" ? (options.emptyValue ?? undefined) : e.currentTarget.value)}
    />
  );
}

function Area({ id, value, placeholder, disabled, onChange, rawErrors }: WidgetProps) {
  const kept = value === MASK;
  return <Textarea id={id} autosize minRows={2} maxRows={10} value={kept ? "" : (value ?? "")} placeholder={kept ? "stored; type to replace it" : placeholder} disabled={disabled} error={Boolean(rawErrors?.length)} aria-describedby={`${id}-error ${id}-description`} onChange={(e) => onChange(e.currentTarget.value || undefined)} />;
}

function Choice({ id, value, options, disabled, onChange, required, label, rawErrors, schema }: WidgetProps) {
  const entries = (options.enumOptions ?? []).map((option, i) => ({ value: String(i), label: String(option.label ?? option.value) }));
  const index = (options.enumOptions ?? []).findIndex((option) => option.value === value);
  // The choice between variants has numbers for values, and few of them: all are shown at once.
  const variants = id.endsWith("_select") || id.includes("__oneof") || id.includes("__anyof");
  if (variants && entries.length <= 4) {
    const titles = (schema.oneOf ?? schema.anyOf ?? []) as { description?: string }[];
    return (
      <Radio.Group value={String(index < 0 ? 0 : index)} onChange={(next) => onChange(options.enumOptions![Number(next)]!.value)} aria-label={label || "Kind"}>
        <Stack gap={8} my={4}>
          {entries.map((entry, i) => (
            <Radio key={entry.value} value={entry.value} label={entry.label} description={titles[i]?.description} disabled={disabled} />
          ))}
        </Stack>
      </Radio.Group>
    );
  }
  return <Select id={id} aria-label={label} data={entries} value={index < 0 ? null : String(index)} disabled={disabled} allowDeselect={!required} error={Boolean(rawErrors?.length)} onChange={(next) => onChange(next === null ? undefined : options.enumOptions![Number(next)]!.value)} searchable={entries.length > 8} />;
}

function Tick({ id, value, label, disabled, onChange, schema }: WidgetProps) {
  return <Checkbox id={id} checked={Boolean(value)} label={label} description={schema.description} disabled={disabled} onChange={(e) => onChange(e.currentTarget.checked)} />;
}

export const widgets: RegistryWidgetsType = { PasswordWidget: Secret, password: Secret, secretArea: Area, TextareaWidget: Area, SelectWidget: Choice, CheckboxWidget: Tick };

function Tags({ fieldPathId, formData, onChange, uiSchema, schema, disabled, rawErrors }: FieldProps) {
  const options = (uiSchema?.["ui:options"] ?? {}) as { placeholder?: string };
  const id = fieldPathId.$id;
  const whole = (schema.items as { type?: string } | undefined)?.type === "integer";
  const values = ((formData as unknown[] | undefined) ?? []).map(String);
  return (
    <Input.Wrapper id={id} label={schema.title} description={schema.description} error={rawErrors?.[0]} labelProps={{ htmlFor: id }}>
      <TagsInput id={id} mt={5} value={values} placeholder={values.length === 0 ? options.placeholder : undefined} disabled={disabled} splitChars={[",", " "]} acceptValueOnBlur onChange={(next) => onChange(next.length === 0 ? undefined : whole ? next.map(Number).filter(Number.isFinite) : next, fieldPathId.path)} />
    </Input.Wrapper>
  );
}

/** An object that nothing is known of, as JSON. */
function Json({ fieldPathId, formData, onChange, schema, disabled, rawErrors }: FieldProps) {
  const secret = formData === MASK;
  const [text, setText] = useState(formData === undefined || secret ? "" : JSON.stringify(formData, null, 2));
  return (
    <JsonInput id={fieldPathId.$id} label={schema.title} description={schema.description} placeholder={secret ? "stored; type to replace it" : "{}"} error={rawErrors?.[0]} validationError="This is not JSON" formatOnBlur autosize minRows={3} maxRows={16} value={text} disabled={disabled}
      onChange={(next) => {
        setText(next);
        try {
          onChange(next.trim() === "" ? undefined : JSON.parse(next), fieldPathId.path);
        } catch {
          // Not whole yet: what was valid last stays.
        }
      }}
    />
  );
}

export const fields: RegistryFieldsType = { tags: Tags, json: Json };

function Field({ id, label, children, rawErrors, rawDescription, required, hidden, schema, uiSchema }: FieldTemplateProps) {
  if (hidden || uiSchema?.["ui:widget"] === "hidden") return <div hidden>{children}</div>;
  const bare = uiSchema?.["ui:field"] !== undefined || schema.type === "boolean";
  if (bare) return <div>{children}</div>;
  const group = schema.type === "object" || schema.oneOf !== undefined || schema.anyOf !== undefined || schema.type === "array";
  if (group) {
    if (id === "root") return <>{children}</>;
    // A chosen variant: the choice above has its name already.
    if (Object.values(schema.properties ?? {}).some((each) => typeof each === "object" && each.const !== undefined)) {
      return (
        <>
          {rawDescription && <Input.Description mb={8}>{rawDescription}</Input.Description>}
          {children}
        </>
      );
    }
    return (
      <fieldset style={{ border: "1px solid var(--line)", borderRadius: 8, padding: "4px 14px 14px", margin: 0, minWidth: 0 }}>
        <legend style={{ padding: "0 6px", fontWeight: 600, fontSize: 14 }}>{label}</legend>
        {rawDescription && schema.oneOf === undefined && <Input.Description mb={8}>{rawDescription}</Input.Description>}
        {rawErrors?.map((error) => <Input.Error key={error}>{error}</Input.Error>)}
        {children}
      </fieldset>
    );
  }
  return (
    <Input.Wrapper id={id} label={label} description={rawDescription} error={rawErrors?.[0]} required={required} labelProps={{ htmlFor: id }} inputWrapperOrder={["label", "input", "error", "description"]}>
      {children}
    </Input.Wrapper>
  );
}

function Fields({ properties, uiSchema, errorSchema, title }: ObjectFieldTemplateProps) {
  const advanced = properties.filter(({ name }) => (uiSchema?.[name]?.["ui:options"] as { advanced?: boolean } | undefined)?.advanced);
  const plain = properties.filter((each) => !advanced.includes(each));
  const wrong = advanced.some(({ name }) => errorSchema?.[name] !== undefined);
  const [open, setOpen] = useState(plain.length === 0);
  const shown = open || wrong;
  return (
    <Stack gap="md">
      {plain.map((each) => (
        <div key={each.name} hidden={each.hidden}>
          {each.content}
        </div>
      ))}
      {advanced.length > 0 && (
        <div>
          <UnstyledButton onClick={() => setOpen(!shown)} aria-expanded={shown} style={{ fontWeight: 600, padding: "4px 0", display: "flex", gap: 6, alignItems: "center" }}>
            {shown ? <IconChevronDown size={16} /> : <IconChevronRight size={16} />}
            More settings{title ? ` of ${title.toLowerCase()}` : ""} <span className="quiet" style={{ fontWeight: 400 }}>({advanced.length}, all with good defaults)</span>
          </UnstyledButton>
          <Collapse expanded={shown}>
            <Stack gap="md" pt="sm">
              {advanced.map((each) => (
                <div key={each.name}>{each.content}</div>
              ))}
            </Stack>
          </Collapse>
        </div>
      )}
    </Stack>
  );
}

function Variants({ selector, optionSchemaField }: MultiSchemaFieldTemplateProps) {
  return (
    <Stack gap="sm">
      {selector}
      {optionSchemaField}
    </Stack>
  );
}

function Items({ items, canAdd, onAddClick, title }: ArrayFieldTemplateProps) {
  return (
    <Stack gap="sm">
      {items}
      {canAdd && (
        <Button size="xs" variant="default" leftSection={<IconPlus size={14} />} onClick={onAddClick} w="max-content">
          Add to {title?.toLowerCase() || "the list"}
        </Button>
      )}
    </Stack>
  );
}

function Item({ children, buttonsProps }: ArrayFieldItemTemplateProps) {
  return (
    <Group align="flex-start" wrap="nowrap">
      <div style={{ flex: 1, minWidth: 0 }}>{children}</div>
      {buttonsProps.hasRemove && (
        <Button size="xs" variant="subtle" color="red" onClick={buttonsProps.onRemoveItem} aria-label="Take this one away">
          <IconTrash size={16} />
        </Button>
      )}
    </Group>
  );
}

export const templates: Partial<TemplatesType> = {
  BaseInputTemplate: BaseInput,
  FieldTemplate: Field,
  ObjectFieldTemplate: Fields,
  MultiSchemaFieldTemplate: Variants,
  ArrayFieldTemplate: Items,
  ArrayFieldItemTemplate: Item,
  ErrorListTemplate: () => null,
  FieldErrorTemplate: () => null,
};
